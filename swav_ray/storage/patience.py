"""Waiting for storage that is unavailable or full."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

_RETRY_SECONDS = 5.0


def persistently(do: Callable[[], Result], warn: Callable[[str], None], seconds: float = 600.0) -> Result:
    """Runs `do` until storage lets it: for what a run cannot do without, on a disk that is full for a while.

    Args:
        do: reads or writes; raises OSError when that fails.
        warn: gets one line, at the first failure.
        seconds: after which the error is raised.
    """
    end, warned = time.monotonic() + seconds, False
    while True:
        try:
            return do()
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            raise  # no waiting mends these
        except OSError as error:
            if time.monotonic() > end:
                raise
            if not warned:
                warn(f"storage is unavailable or full, waiting for it: {error}")
            warned = True
        time.sleep(_RETRY_SECONDS)
