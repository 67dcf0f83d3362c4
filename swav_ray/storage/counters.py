"""What a process has asked of storage, counted. Importing it loads no S3 client."""

from __future__ import annotations

import functools
import os
import threading


class Counters:
    """Bytes read, calls, the requests that were sent for them, and our own retries.

    botocore's retries show as requests beyond the calls.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = {"bytes_read": 0, "calls": 0, "sends": 0, "own_retries": 0}

    def add(self, name: str, amount: int = 1) -> None:
        with self._lock:
            self._counts[name] += amount

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            counts = dict(self._counts)
        retries = max(0, counts["sends"] - counts["calls"]) + counts["own_retries"]
        return {"bytes_read": counts["bytes_read"], "requests": counts["sends"], "retries": retries}


@functools.cache
def _counters(_pid: int) -> Counters:
    return Counters()


def counters() -> Counters:
    """This process's counters; a forked child starts from zero."""
    return _counters(os.getpid())
