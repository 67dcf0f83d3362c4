"""What a contender takes of the machine: time by the clock, CPU seconds, memory, Ray's object store."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import psutil
import ray


class Machine:
    """What this process and its children use, seen from outside."""

    def __init__(self) -> None:
        self.peak_object_store = 0.0
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._closed.wait(0.25):
            if ray.is_initialized():
                with contextlib.suppress(Exception):
                    self.peak_object_store = max(self.peak_object_store, object_store_bytes())

    @staticmethod
    def cpu_seconds() -> dict[int, float]:
        """Of each process, but the S3 server's: a real one is elsewhere."""
        seconds = {}
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                if process.name() == "weed":
                    continue
                used = process.cpu_times()
                seconds[process.pid] = used.user + used.system
        return seconds

    @staticmethod
    def memory() -> int:
        """Bytes that only these processes hold: shared memory, as the object store's, is not in it."""
        total = 0
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                # A map of the object store that only one process has would else count as its own.
                maps = [found for found in process.memory_maps() if not found.path.startswith("/dev/shm")]
                total += sum(found.private_clean + found.private_dirty for found in maps)
        return total

    def close(self) -> None:
        self._closed.set()


def object_store_bytes() -> float:
    name = "object_store_memory"
    return ray.cluster_resources().get(name, 0.0) - ray.available_resources().get(name, 0.0)


def measured(step: Callable[[], int], seconds: float) -> tuple[float, float]:
    """Images per second by the clock and per CPU second; `step` gives the images that it took or made."""
    before, started, images = Machine.cpu_seconds(), time.perf_counter(), 0
    while (wall := time.perf_counter() - started) < seconds:
        images += step()
    used = sum(value - before.get(pid, 0.0) for pid, value in Machine.cpu_seconds().items())
    return images / wall, images / used


def wait_until_idle() -> None:
    end = time.monotonic() + 30
    while ray.available_resources().get("CPU", 0) < ray.cluster_resources()["CPU"] and time.monotonic() < end:
        time.sleep(0.1)
