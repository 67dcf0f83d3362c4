"""The next block of images is read while the network runs on this one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
Answer = TypeVar("Answer")


def one_ahead(read: Callable[[Job], Answer], jobs: Iterable[Job]) -> Iterator[Answer]:
    """The answer of each job in turn, by one thread that works on the next job while an answer is used.

    Raises what `read` raises, when that job's turn comes.
    """
    with ThreadPoolExecutor(1) as pool:
        coming: Future[Answer] | None = None
        for job in jobs:
            following = pool.submit(read, job)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()
