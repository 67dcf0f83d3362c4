"""A run directory has one run: a second is refused, a dead one's place is free at once."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swav_ray.config import ConfigError
from swav_ray.run import lease as leases
from swav_ray.run.lease import Lease
from swav_ray.storage.place import Place, StorageUnavailable, place
from tests.storage.servers import Unconditional, use_server

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
def test_one_that_lost_its_place_learns_it(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_BEAT_SECONDS", 0.1)
    lost = threading.Event()
    run_dir = place(f"{s3}/run")
    mine = Lease(run_dir, "r", print, lost.set)
    mine.acquire()
    (run_dir / "running.json").write_bytes(json.dumps({"id": "other", "host": "there", "pid": 7, "beat": 0}).encode())
    assert lost.wait(30)
    mine.release()
    assert json.loads((run_dir / "running.json").read_bytes())["id"] == "other"


def _race(uri: str, count: int, together: Any, won: Any) -> None:
    """Takes count leases, each when another process has read the same state of it; notes which it has got."""
    leases._DEAD_SECONDS = 0.0
    read, readers = leases._ObjectLock._read, set()

    def read_together(self: leases._ObjectLock) -> Any:
        found = read(self)
        if self not in readers:
            readers.add(self)
            together.wait(60)
        return found

    leases._ObjectLock._read = read_together  # type: ignore[method-assign]
    for number in range(count):
        try:
            Lease(place(f"{uri}/{number}"), "r", lambda _: None).acquire()
        except ConfigError:
            continue
        won.put(number)
    together.wait(60)  # nobody's leases may end before the other has asked for them


@pytest.mark.s3
@pytest.mark.parametrize("dead", [False, True])
def test_of_two_that_take_it_at_once_exactly_one_succeeds(s3: str, dead: bool) -> None:
    context, count = multiprocessing.get_context("spawn"), 50
    if dead:
        for number in range(count):
            holder = {"id": "x", "host": "gone", "pid": 7, "beat": 3}
            (place(s3) / f"{number}/running.json").write_bytes(json.dumps(holder).encode())
    together, won = context.Barrier(2), context.Queue()
    racers = [context.Process(target=_race, args=(s3, count, together, won), daemon=True) for _ in range(2)]
    for racer in racers:
        racer.start()
    assert sorted(won.get(timeout=60) for _ in range(count)) == list(range(count))
    for racer in racers:
        racer.join(60)
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert won.empty()


@pytest.mark.s3
def test_on_a_server_with_conditional_writes_nothing_is_waited_for(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases.time, "sleep", lambda _: pytest.fail("waited"))
    said: list[str] = []
    mine = Lease(place(f"{s3}/run"), "r", said.append)
    mine.acquire()
    mine.release()
    assert said == []


@pytest.mark.s3
def test_a_beat_whose_answer_is_lost_does_not_lose_the_run(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_BEAT_SECONDS", 0.05)
    lost, beats = threading.Event(), threading.Semaphore(0)
    mine = Lease(place(f"{s3}/run"), "r", print, lost.set)
    mine.acquire()
    write = Place.write_if_version
    answers = iter([False, True, False, False, True])

    def write_and_lose_the_answer(self: Place, data: bytes, version: str | None) -> str | None:
        written = write(self, data, version)
        beats.release()
        if not next(answers, True):
            raise StorageUnavailable("no answer")
        return written

    monkeypatch.setattr(Place, "write_if_version", write_and_lose_the_answer)
    assert all(beats.acquire(timeout=30) for _ in range(10))
    assert not lost.is_set()
    mine.release()
    assert not (place(s3) / "run/running.json").exists()


@pytest.mark.parametrize("says_so", [False, True])
def test_a_server_without_conditional_writes_is_named_and_still_refuses_a_second_run(
    says_so: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_server(Unconditional(says_so=says_so).server.server_port, monkeypatch)
    monkeypatch.setattr(leases, "_BEAT_SECONDS", 0.1)
    monkeypatch.setattr(leases, "_is_dead_here", lambda *_: False)
    said: list[str] = []
    lost = threading.Event()
    mine = Lease(place("s3://b/run"), "r", said.append, lost.set)
    mine.acquire()
    (line,) = said
    assert line.startswith("s3://b/run/running.json: this S3 server has no conditional writes; ")
    with pytest.raises(ConfigError, match="is running already"):
        Lease(place("s3://b/run"), "r", print).acquire()
    assert not lost.is_set()
    end = time.monotonic() + 30
    # Again and again, as another process's beats: one of them may fall between a beat's look and its write.
    while not lost.wait(0.05) and time.monotonic() < end:
        (place("s3://b/run") / "running.json").write_bytes(b'{"id": "other", "pid": 7, "host": "there"}')
    assert lost.is_set()
    mine.release()
    assert json.loads((place("s3://b/run") / "running.json").read_bytes())["id"] == "other"


def test_a_released_run_leaves_no_file_and_a_lock_on_a_deleted_file_excludes_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, lock = tmp_path / "run" / "running.json", leases.fcntl.flock
    left = [file]

    def delete_after_the_first(opened: Any, how: int) -> None:
        lock(opened, how)
        if left:
            left.pop().unlink()  # as its holder does, between this process's opening it and locking it

    monkeypatch.setattr(leases.fcntl, "flock", delete_after_the_first)
    mine = Lease(place(tmp_path / "run"), "r", print)
    mine.acquire()
    with pytest.raises(ConfigError, match="is running already"):
        Lease(place(tmp_path / "run"), "r", print).acquire()
    mine.release()
    assert not file.exists()
