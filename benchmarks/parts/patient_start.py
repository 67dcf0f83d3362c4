"""Ray that is given time to start: on a busy machine a raylet may take longer than the 30 s Ray waits for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray._private import services


@contextmanager
def patient_start(seconds: float) -> Iterator[None]:
    """While entered, whoever starts a node waits so long for its raylet; then Ray's own RuntimeError comes."""
    once = services.get_node

    def get_node(*arguments: Any) -> Any:
        end = time.monotonic() + seconds
        while True:
            try:
                return once(*arguments)
            except RuntimeError:
                if time.monotonic() > end:
                    raise
            time.sleep(0.2)

    services.get_node = get_node
    try:
        yield
    finally:
        services.get_node = once
