"""Reads that wait on a server: many at a time in threads, and the next ones while an answer is used."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

CONCURRENT_READS = 32  # at a time in one process: at 30 ms each, more images than a core crops
READ_AHEAD = 2 * CONCURRENT_READS  # answers that nobody has asked for yet, and requests

Job = TypeVar("Job")
Answer = TypeVar("Answer")


def prefetched(
    run: Callable[[Job], Answer], jobs: Iterable[Job], *, at_a_time: int = CONCURRENT_READS
) -> Iterator[Answer]:
    """The answers of jobs in their order, each as soon as it is there; twice as many jobs as run at a time are begun.

    Raises what ``run`` raises, when that job's turn comes.
    """
    begun: collections.deque[Future[Answer]] = collections.deque()
    with ReadThreads(at_a_time) as threads:
        for job in jobs:
            if len(begun) == 2 * at_a_time:
                yield begun.popleft().result()
            begun.append(threads.begin(run, job))
        while begun:
            yield begun.popleft().result()


class ReadThreads:
    """Runs jobs, so many at a time, until one raises: an outage costs its patience once.

    Jobs that are running then finish, those that wait for a thread raise the same error. There is no thread until a
    job needs one, and none after the block of ``with``.
    """

    def __init__(self, at_a_time: int = CONCURRENT_READS) -> None:
        self._pool = ThreadPoolExecutor(at_a_time, "read-s3")
        self._failures: list[BaseException] = []

    def __enter__(self) -> ReadThreads:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._failures.clear()  # whose tracebacks hold the frames of the callers

    def begin(self, run: Callable[[Job], Answer], job: Job) -> Future[Answer]:
        return self._pool.submit(self._run, run, job)

    def _run(self, run: Callable[[Job], Answer], job: Job) -> Answer:
        if self._failures:
            raise self._failures[0]
        try:
            return run(job)
        except BaseException as error:
            self._failures.append(error)
            raise
