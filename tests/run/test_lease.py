"""A run directory has one run: a second is refused, a dead one's place is free at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from swav_ray.config import ConfigError
from swav_ray.run import lease as leases
from swav_ray.run.lease import Lease
from swav_ray.storage.place import place

HOLD = """
import sys
from swav_ray.storage.place import place
from swav_ray.run.lease import Lease
lease = Lease(place(sys.argv[1]), "r", print)
lease.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holders() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def hold(uri: str, holders: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, uri], stdin=-1, stdout=-1, text=True)
    holders.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(leases, "_BEAT_SECONDS", 0.1)
    return str(tmp_path / "run") if request.param == "local" else f"{request.getfixturevalue('s3')}/run"


def test_while_a_run_lives_another_is_refused_and_a_killed_ones_place_is_free(
    uri: str, holders: list[subprocess.Popen[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    process = hold(uri, holders)
    with pytest.raises(ConfigError, match=rf"run.name = 'r': is running already \(process {process.pid} on "):
        Lease(place(uri), "r", print).acquire()
    process.kill()
    process.wait()
    capsys.readouterr()
    mine = Lease(place(uri), "r", print)
    mine.acquire()
    assert capsys.readouterr().out == ""  # nothing to wait for: it was a process of this machine
    mine.release()
    again = Lease(place(uri), "r", print)
    again.acquire()
    again.release()


@pytest.mark.s3
def test_a_run_of_another_machine_that_beats_no_more_is_dead(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_DEAD_SECONDS", 1.5)
    run_dir, said = place(f"{s3}/run"), []
    (run_dir / "running.json").write_bytes(json.dumps({"id": "x", "host": "gone", "pid": 7, "beat": 3}).encode())
    mine = Lease(run_dir, "r", said.append)
    mine.acquire()
    mine.release()
    assert said == ["run r was held by process 7 on gone; watching for 2 s whether it lives"]


@pytest.mark.s3
def test_one_that_lost_its_place_is_told(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_BEAT_SECONDS", 0.1)
    import threading

    lost = threading.Event()
    run_dir = place(f"{s3}/run")
    mine = Lease(run_dir, "r", print, lost.set)
    mine.acquire()
    (run_dir / "running.json").write_bytes(json.dumps({"id": "other", "host": "there", "pid": 7, "beat": 0}).encode())
    assert lost.wait(30)
    mine.release()
    assert json.loads((run_dir / "running.json").read_bytes())["id"] == "other"
