"""Ray still has what local_ray.py wraps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from ray._private import services

from swav_ray.launch.ray_internals import local_ray
from swav_ray.launch.signals import Interrupted, StopSignals
from tests.launch.ray_internals.contract import Contract

LOCAL_RAY = Contract(
    mend="swav_ray/launch/ray_internals/local_ray.py",
    breaks="a SIGTERM to the process group ends Ray before a run's last checkpoint is written",
)


def test_a_node_starts_its_processes_through_one_class() -> None:
    LOCAL_RAY.uses("ray._private.services:start_ray_process", "ConsolePopen")
    popen = LOCAL_RAY.name("ray._private.services:ConsolePopen")
    LOCAL_RAY.check(issubclass(popen, subprocess.Popen), "ConsolePopen is no subprocess.Popen")


def test_the_programs_that_a_run_cannot_do_without_have_these_names() -> None:
    for constant, name in (("RAYLET_EXECUTABLE", "raylet"), ("GCS_SERVER_EXECUTABLE", "gcs_server")):
        path = f"ray._private.services:{constant}"
        LOCAL_RAY.check(os.path.basename(LOCAL_RAY.name(path)) == name, f"{path} does not end in {name}")


def test_ray_sets_a_handler_of_sigterm() -> None:
    LOCAL_RAY.uses("ray:init", "sigterm_handler", "set_sigterm_handler")


def test_what_ray_starts_leads_a_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    leads = []

    def init(**options: object) -> None:
        assert options == {"num_cpus": 2}
        process = services.start_ray_process(["sleep", "60"], "sleeper", fate_share=False).process
        leads.append(os.getpgid(process.pid) == process.pid)
        process.kill()
        process.wait()

    before = services.ConsolePopen
    monkeypatch.setattr(ray, "init", init)
    local_ray.start_ray(num_cpus=2)
    assert leads == [True]
    assert services.ConsolePopen is before


def test_a_process_of_ray_that_ended_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    raylet = tmp_path / "raylet"
    raylet.symlink_to("/bin/sleep")
    processes = []

    def init() -> None:
        processes.append(services.start_ray_process([str(raylet), "60"], "raylet", fate_share=False).process)

    monkeypatch.setattr(ray, "init", init)
    started = local_ray.start_ray()
    assert started.ended() == []
    processes[0].kill()
    processes[0].wait()
    assert started.ended() == ["raylet"]


@pytest.fixture
def sigterm_while_ray_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))  # as Ray does
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(ray, "init", init)


def test_a_sigterm_while_ray_starts_goes_to_the_handler_that_was_there(sigterm_while_ray_starts: None) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as stop, pytest.raises(Interrupted, match="SIGTERM"):
        local_ray.start_ray()
    assert stop.asked is signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_sigterm_while_ray_starts_exits_if_there_was_no_handler(sigterm_while_ray_starts: None) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit):
        local_ray.start_ray()
    assert signal.getsignal(signal.SIGTERM) == before
