"""Threads that list parts of a bucket side by side. A part may be cut while it is listed, for threads without work."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

THREADS = 16
_PAGES_IN_FLIGHT = 64  # bounds what a listing holds: 64 pages of 1,000 keys
_STOP_SECONDS = 0.1  # within which threads notice that nobody wants their pages


@dataclass(frozen=True)
class Part:
    """Keys that are listed one after the other.

    Args:
        prefix: of all of them.
        after, until: the keys after the one, up to the other. Empty: from the first, to the last.
        is_deep: with the keys in the folders below; else the names of these folders only.
    """

    prefix: str
    after: str = ""
    until: str = ""
    is_deep: bool = False


@dataclass(frozen=True)
class Found:
    """A page of a part.

    Args:
        number: of the part.
        objects: each with Key, Size and ETag. folders: prefixes.
        left: what is left of the part; None: nothing.
        cut_off: parts that are no longer in ``left``, by their new numbers.
    """

    number: int
    objects: list[dict[str, Any]]
    folders: list[str]
    left: Part | None
    cut_off: dict[int, Part] = field(default_factory=dict)


class Crew:
    """Runs ``list_part`` (number, part, this crew) for each part in a thread.

    What it gives comes out of `pages` in no order, but a part is reported as cut off before it is begun.
    """

    def __init__(self, list_part: Callable[[int, Part, Crew], Iterator[Found]], first_number: int) -> None:
        self._list_part = list_part
        self._numbers = itertools.count(first_number)
        self._ready: queue.Queue[Found | BaseException] = queue.Queue(_PAGES_IN_FLIGHT)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._unfinished = 0  # parts that are listed or wait for a thread
        self._pool = ThreadPoolExecutor(THREADS, "list-s3")

    def has_idle(self) -> bool:
        return self._unfinished < THREADS

    def cut(self, pieces: Callable[[int], list[Part]]) -> dict[int, Part]:
        """Parts for the threads without work, as ``pieces`` makes them of at most so many; none if all have work."""
        with self._lock:
            idle = THREADS - self._unfinished
            made = pieces(idle) if idle > 0 else []
            self._unfinished += len(made)
            return {next(self._numbers): part for part in made}

    def pages(self, parts: Mapping[int, Part]) -> Iterator[Found]:
        """All pages of these parts and of what is cut off them. Raises what a thread raised."""
        left, self._unfinished = len(parts), len(parts)
        try:
            for number, part in parts.items():
                self._pool.submit(self._produce, number, part)
            while left:
                found = self._ready.get()
                if isinstance(found, BaseException):
                    raise found
                left += len(found.cut_off) - (found.left is None)
                yield found
        finally:
            self._stopped.set()
            self._pool.shutdown(cancel_futures=True)

    def _produce(self, number: int, part: Part) -> None:
        try:
            for found in self._list_part(number, part, self):
                self._put(found)
                if self._stopped.is_set():
                    return
                for new, piece in found.cut_off.items():
                    self._pool.submit(self._produce, new, piece)
        except BaseException as error:
            self._put(error)
        finally:
            with self._lock:
                self._unfinished -= 1

    def _put(self, item: Found | BaseException) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put(item, timeout=_STOP_SECONDS)
                return
