"""A thread pool whose jobs can wait until it is told to give up what has not begun."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Pool(ThreadPoolExecutor):
    """Sets `given_up` once nothing more will begin; without it a test of that would be a race."""

    given_up: threading.Event

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures:
            super().shutdown(wait=False, cancel_futures=True)
            self.given_up.set()
        super().shutdown(wait=wait)


def pool() -> type[Pool]:
    """A class of its own, for one test."""
    members: dict[str, Any] = {"given_up": threading.Event()}
    return type("Pool", (Pool,), members)
