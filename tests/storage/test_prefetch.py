"""Answers come in order, each as soon as it is there; the next ones are under way meanwhile, and an outage is one."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from swav_ray.storage import prefetch
from swav_ray.storage.place import StorageUnavailable
from swav_ray.storage.prefetch import CONCURRENT_READS, READ_AHEAD, prefetched
from tests.pools import pool


def test_an_answer_does_not_wait_for_the_next_one() -> None:
    used = threading.Event()

    def run(job: str) -> str:
        assert job != "late" or used.wait(30), "the first answer was held until the last was there"
        return job

    answers = prefetched(run, ["early", "late"])
    assert next(answers) == "early"
    used.set()
    assert list(answers) == ["late"]


def test_the_next_answers_are_under_way_while_one_is_used() -> None:
    asked = [threading.Event() for _ in range(CONCURRENT_READS)]

    def run(job: int) -> int:
        asked[job].set()
        return job

    answers = prefetched(run, range(CONCURRENT_READS))
    assert next(answers) == 0
    assert all(one.wait(30) for one in asked)


def test_no_more_is_begun_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    begin = prefetch.ReadThreads.begin
    monkeypatch.setattr(
        prefetch.ReadThreads, "begin", lambda self, run, job: begun.append(job) or begin(self, run, job)
    )
    answers = prefetched(lambda job: job, range(500))
    for used in range(300):
        assert next(answers) == used
        assert len(begun) <= used + READ_AHEAD
    assert list(answers) == list(range(300, 500))
    assert list(prefetched(lambda job: job, range(3))) == [0, 1, 2]
    assert list(prefetched(lambda job: job, [])) == []


def test_a_failure_comes_at_its_place_and_ends_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, begun = pool(), []

    def run(job: int) -> int:
        begun.append(job)
        if job == 1:
            raise StorageUnavailable("gone")
        if job > 1:
            kind.given_up.wait(30)
        return job

    monkeypatch.setattr(prefetch, "ThreadPoolExecutor", kind)
    answers = prefetched(run, range(1000))
    assert next(answers) == 0
    with pytest.raises(StorageUnavailable, match="gone"):
        next(answers)
    assert len(begun) <= CONCURRENT_READS + 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-s3")]


def test_reads_that_come_to_their_turn_after_a_failure_do_not_wait_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    together = threading.Barrier(CONCURRENT_READS)
    finished = threading.Semaphore(0)

    def run(job: int) -> int:
        begun.append(job)
        if job < CONCURRENT_READS:
            together.wait(30)
        if not job:  # the one whose answer is waited for
            assert all(finished.acquire(timeout=30) for _ in range(63))
        raise StorageUnavailable(f"gone: {job}")

    class Counted(ThreadPoolExecutor):
        def submit(self, *arguments: Any, **keywords: Any) -> Future[Any]:
            future = super().submit(*arguments, **keywords)
            future.add_done_callback(lambda _: finished.release())
            return future

    monkeypatch.setattr(prefetch, "ThreadPoolExecutor", Counted)
    with pytest.raises(StorageUnavailable, match="gone"):
        next(prefetched(run, range(64)))
    assert sorted(begun) == list(range(CONCURRENT_READS))
