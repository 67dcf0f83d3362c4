"""What a worker's coordinator is over Ray: it never waits for an answer that a step could do without."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from swav_ray.config import replace
from swav_ray.launch import worker as module
from swav_ray.launch.worker import OverRay
from swav_ray.recipes import quickstart
from swav_ray.run.messages import Stopped
from swav_ray.storage.place import place
from swav_ray.training.control import Preemption, Request
from tests.launch.test_monitor import mailbox
from tests.launch.test_supervise import Handle


class Slow:
    """Ray, whose answers come when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arrived = True
        self.time = 100.0
        self.preempted: Any = None
        monkeypatch.setattr(module.ray, "get", lambda answer: answer)
        monkeypatch.setattr(module.ray, "wait", lambda refs, **_: (refs, []) if self.arrived else ([], refs))
        monkeypatch.setattr(module.ray.train, "get_preemption_info", lambda: self.preempted)
        monkeypatch.setattr(module.ray.train.torch, "get_device", lambda: "cpu")
        monkeypatch.setattr(module.time, "monotonic", lambda: self.time)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    return Slow(monkeypatch)


def coordinator(monitor: Any) -> OverRay:
    return OverRay(quickstart().scaling, place("/nowhere"), Handle(monitor))


def test_a_request_is_learned_a_step_after_it_was_asked_for_and_asked_for_every_second(slow: Slow) -> None:
    monitor = mailbox()
    over_ray = coordinator(monitor)
    monitor.request_stop()
    assert over_ray.request() == Request.NONE  # not yet asked
    slow.time += 1.1
    slow.arrived = False
    assert over_ray.request() == Request.NONE  # asked
    assert over_ray.request() == Request.NONE  # under way
    slow.arrived = True
    assert over_ray.request() == Request.STOP
    assert over_ray.request() == Request.NONE  # to be asked again in a second


@pytest.mark.parametrize(("ask", "request_"), [("request_stop", Request.STOP), ("request_resize", Request.RESIZE)])
def test_what_the_monitor_is_asked_for_is_a_request_by_its_name(slow: Slow, ask: str, request_: Request) -> None:
    monitor = mailbox()
    assert Request[monitor.request()] == Request.NONE
    getattr(monitor, ask)()
    over_ray = coordinator(monitor)
    slow.time += 1.1
    over_ray.request()
    assert over_ray.request() == request_


def test_a_preemption_has_its_nodes_and_its_deadline_if_the_cloud_names_one(slow: Slow) -> None:
    over_ray = coordinator(mailbox())
    assert over_ray.preemption() is None
    slow.preempted = SimpleNamespace(preempted_node_ids=["a", "b"], deadline_ms=5500)
    assert over_ray.preemption() == Preemption(("a", "b"), 5.5)
    slow.preempted = SimpleNamespace(preempted_node_ids=["a"], deadline_ms=None)
    assert over_ray.preemption() == Preemption(("a",), None)


def test_messages_failures_and_ends_reach_the_monitor(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.ray.util, "get_current_placement_group", lambda: None)
    monitor = mailbox()
    over_ray = coordinator(monitor)
    assert over_ray.begin(3) == ""
    over_ray.report(Stopped(3))
    over_ray.saved()
    over_ray.note_failure("OSError: gone")
    assert monitor.read() == [Stopped(3)]
    assert monitor.saved()
    assert over_ray.given_up() == ""
    over_ray.give_up("no use")
    assert over_ray.given_up() == "no use"


def test_a_run_is_measured_beside_training_if_it_is_asked_for_and_a_cpu_is_spare(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.ray.train.torch, "get_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(module.ray, "cluster_resources", lambda: {"CPU": 4.0})
    found = {}
    for how in ("auto", "never"):
        config = replace(quickstart(), eval={"beside_training": how})
        found[how] = module._Pretraining(config, place("/nowhere"), Handle(mailbox())).beside_training(1)
    assert callable(found["auto"])
    assert found["never"] is None


def test_the_device_is_asked_for_when_the_worker_needs_it(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise RuntimeError("no CUDA device")

    monkeypatch.setattr(module.ray.train.torch, "get_device", fails)
    over_ray = coordinator(mailbox())
    with pytest.raises(RuntimeError, match="no CUDA device"):
        over_ray.device  # noqa: B018
