"""Workers come and go, on a cluster of several nodes, and the training stays the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import ray.train
from ray.cluster_utils import Cluster

from swav_ray import settings
from swav_ray.config import Config
from swav_ray.launch import elastic
from swav_ray.launch.ray_internals.draining import Gcs
from swav_ray.run.history import read_history
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import place
from tests.launch.conftest import tiny
from tests.launch.test_train import assert_exactly_once

_PATIENCE = 300.0


@pytest.fixture
def nodes() -> Iterator[Cluster]:
    """A head of two CPUs; a node that vanishes is noticed within seconds. One that answers late has not vanished."""
    health = {"health_check_period_ms": 500, "health_check_timeout_ms": 10_000, "health_check_failure_threshold": 3}
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False, "_system_config": health}
    )
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


class Job:
    """The command as a person gives it, against the cluster."""

    def __init__(self, config: Config, folder: Path, address: str) -> None:
        self.run_dir = place(config.run.storage) / config.run.name
        file = folder / "given.yaml"
        file.write_text(settings.to_yaml(config))
        self._output = (folder / "output.txt").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "swav_ray.pretrain", "--config", str(file)],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"RAY_ADDRESS": address},
        )

    def output(self) -> str:
        """What it has printed."""
        self._output.seek(0)
        return self._output.read()

    def records(self) -> list[dict[str, Any]]:
        return read_metrics(self.run_dir)

    def until(self, what: str, met: Callable[[], bool]) -> None:
        end = time.monotonic() + _PATIENCE
        while not met():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < end, f"in vain for {what}:\n{self.output()}\n{read_history(self.run_dir)}"
            time.sleep(0.05)

    def until_steps_with(self, workers: int) -> None:
        """Until five steps in a row were done by so many workers, after what is there now."""
        before = len(self.records())

        def met() -> bool:
            records = self.records()
            return len(records) >= before + 5 and all(record["workers"] == workers for record in records[-5:])

        self.until(f"five steps with {workers} workers", met)

    def stop(self) -> str:
        """Ctrl-C; what it printed."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(timeout=_PATIENCE) == 0, self.output()
        return self.output()


def drain(node_id: str, seconds: float) -> None:
    """What the spot watcher does with a cloud's notice."""
    accepted, why = Gcs(ray.get_runtime_context().gcs_address).drain(node_id, "test", time.time() + seconds)
    assert accepted, why


def kill_controller() -> None:
    processes = [p for p in psutil.Process().children(recursive=True) if "TrainController" in " ".join(p.cmdline())]
    assert len(processes) == 1
    processes[0].kill()


@pytest.mark.ray
def test_grows_shrinks_and_outlives_its_controller(nodes: Cluster, shapes: Path, tmp_path: Path) -> None:
    config = tiny(
        shapes,
        tmp_path,
        "elastic",
        scaling={"num_workers": (1, 3), "check_seconds": 2.0},
        train={"epochs": 4000},
        checkpoint={"every_epochs": 2.0},
        eval={"knn_every_epochs": 0},
    )

    job = Job(config, tmp_path, nodes.address)
    job.until_steps_with(1)
    joined = nodes.add_node(num_cpus=2)
    job.until_steps_with(3)
    drain(joined.node_id, 15.0)
    job.until_steps_with(1)
    nodes.remove_node(joined, allow_graceful=False)
    job.until_steps_with(1)
    kill_controller()
    starts = len(read_history(job.run_dir))
    job.until("another start", lambda: len(read_history(job.run_dir)) > starts + 1)
    job.until_steps_with(1)
    output = job.stop()
    for line in ("changing the number of workers", "controller died"):
        assert line in output, output
    # The node's notice and the poll for nodes that joined or left may come in either order.
    by_notice = "is preempted in" in output and "resuming without the preempted node" in output
    assert by_notice or output.count("changing the number of workers") == 2, output
    assert "Traceback" not in output
    assert_exactly_once(config, shapes, len(job.records()))
    starts_of = [entry for entry in read_history(job.run_dir) if entry["event"] == "start"]
    assert [entry["workers"] for entry in starts_of] == [1, 3, 1, 1], output
    # A planned resize loses no step, a preempted node at most one.
    assert [entry["lost_steps"] for entry in starts_of[:2]] == [0, 0]
    assert starts_of[2]["lost_steps"] <= 1


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> elastic._Policy:
    """Of a run of one to three workers with two CPUs each, on three nodes of which one drains."""
    nodes = [{"NodeID": name, "Alive": name != "dead", "Resources": {"CPU": 4.0}} for name in ("a", "b", "dead")]
    monkeypatch.setattr(elastic, "draining_nodes", lambda: {"b": 0})
    monkeypatch.setattr(elastic.ray, "nodes", lambda: nodes)
    scaling = ray.train.ScalingConfig(num_workers=(1, 3), resources_per_worker={"CPU": 2.0})
    policy = elastic._Policy(scaling, "run")
    monkeypatch.setattr(policy, "_send_resource_request", lambda: None)
    return policy


def test_workers_leave_a_cpu_for_crops_and_do_not_count_on_a_draining_node(policy: elastic._Policy) -> None:
    assert policy.most_workers() == policy.workers_to_request() == 1


def test_what_is_reserved_on_a_draining_node_does_not_count(
    policy: elastic._Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "reserved_now", lambda: {"a": {"CPU": 2.0}, "b": {"CPU": 4.0}})
    assert policy.reserved() == {"a": {"CPU": 2.0}}


def test_a_cluster_that_does_not_answer_changes_nothing(
    policy: elastic._Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late() -> None:
        raise ray.exceptions.GetTimeoutError("no answer in 5 s")

    monkeypatch.setattr(policy, "reserved_now", late)
    assert policy.reserved() is None


@pytest.mark.parametrize(
    "error", [TypeError("got an unexpected keyword argument 'recompute'"), ray.exceptions.RayTaskError("f", "", None)]
)
def test_a_ray_whose_inside_has_moved_is_no_run_that_never_resizes_but_an_error(
    policy: elastic._Policy, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def moved() -> None:
        raise error

    monkeypatch.setattr(policy, "reserved_now", moved)
    with pytest.raises(type(error)):
        policy.reserved()
