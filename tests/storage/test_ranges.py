"""Answers come in order, each as soon as it is there; on S3 the next ones are on their way meanwhile."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from swav_ray.storage import ranges
from swav_ray.storage.place import StorageUnavailable
from swav_ray.storage.ranges import CONCURRENT_READS, in_order
from tests.pools import pool


def test_an_answer_does_not_wait_for_the_next_one() -> None:
    used = threading.Event()

    def run(job: str) -> list[str]:
        assert job != "late" or used.wait(30), "the first answer was kept until the last was there"
        return [job]

    answers = in_order({"late": [1], "early": [0]}, run, is_local=False)
    assert next(answers) == "early"
    used.set()
    assert list(answers) == ["late"]


def test_the_next_answers_are_on_their_way_while_one_is_worked_on() -> None:
    asked = [threading.Event() for _ in range(CONCURRENT_READS)]

    def run(job: int) -> list[int]:
        asked[job].set()
        return [job]

    answers = in_order({job: [job] for job in range(CONCURRENT_READS)}, run, is_local=False)
    assert next(answers) == 0
    assert all(one.wait(30) for one in asked)


def test_local_files_are_read_when_they_are_asked_for() -> None:
    read: list[str] = []

    def run(job: str) -> list[str]:
        read.append(job)
        return [job, job]

    answers = in_order({"a": [0, 3], "b": [1, 2]}, run, is_local=True)
    seen = [(answer, list(read)) for answer in answers]
    assert seen == [("a", ["a"]), ("b", ["a", "b"]), ("b", ["a", "b"]), ("a", ["a", "b"])]


@pytest.mark.parametrize("is_local", [True, False])
def test_a_failure_comes_at_its_place_and_ends_the_reading(is_local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, begun = pool(), []

    def run(job: int) -> list[int]:
        begun.append(job)
        if job == 1:
            raise StorageUnavailable("gone")
        if job > 1:
            kind.given_up.wait(30)
        return [job]

    monkeypatch.setattr(ranges, "ThreadPoolExecutor", kind)
    answers = in_order({job: [job] for job in range(1000)}, run, is_local=is_local)
    assert next(answers) == 0
    with pytest.raises(StorageUnavailable, match="gone"):
        next(answers)
    assert len(begun) <= CONCURRENT_READS + 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-s3")]


def test_reads_that_come_to_their_turn_after_a_failure_do_not_wait_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    together = threading.Barrier(CONCURRENT_READS)
    finished = threading.Semaphore(0)

    def run(job: int) -> list[int]:
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

    monkeypatch.setattr(ranges, "ThreadPoolExecutor", Counted)
    with pytest.raises(StorageUnavailable, match="gone"):
        next(in_order({job: [job] for job in range(64)}, run, is_local=False))
    assert sorted(begun) == list(range(CONCURRENT_READS))
