"""What images cost: seconds, and CPU time of this process and all that it started, which others change little."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Cost:
    """Of some images: how many a second, and the CPU time of one in ms."""

    rate: float
    cpu_ms: float


class Clock:
    """Measures from its making."""

    def __init__(self) -> None:
        self._began, self._cpu = time.perf_counter(), cpu_seconds()

    def cost(self, images: int) -> Cost:
        """Of so many images, until now."""
        return Cost(images / (time.perf_counter() - self._began), 1e3 * (cpu_seconds() - self._cpu) / images)


def cpu_seconds() -> float:
    """Of this process and its descendants, those that have ended included, in user and system mode."""
    root = psutil.Process()
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])  # its own, and its children's that have ended
    return total
