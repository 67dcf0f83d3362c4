"""A pool of gloo workers that tests share: importing torch takes longer than most tests."""

from __future__ import annotations

import queue
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import distributed as dist

from swav_ray.training.distributed import World

Task = Callable[..., Any]


def _worker(rank: int, size: int, store: str, tasks: Any, results: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    groups = {n: dist.new_group(list(range(n))) for n in range(2, size + 1)}
    while (task := tasks.get()) is not None:
        function, workers, arguments = task
        world = World(rank, workers, groups[workers]) if workers > 1 else World()
        try:
            results.put((rank, function(world, *arguments), ""))
        except Exception:
            results.put((rank, None, traceback.format_exc()))


class GlooPool:
    """`size` processes; `run` uses the first few of them as a world."""

    def __init__(self, size: int) -> None:
        context = mp.get_context("forkserver")
        context.set_forkserver_preload([__name__, "swav_ray.training.learner"])  # imported once, not by each worker
        self._folder = tempfile.TemporaryDirectory()
        store = str(Path(self._folder.name) / "store")
        self._tasks = [context.Queue() for _ in range(size)]
        self._results = context.Queue()
        self._processes = [
            context.Process(target=_worker, args=(rank, size, store, tasks, self._results), daemon=True)
            for rank, tasks in enumerate(self._tasks)
        ]
        for process in self._processes:
            process.start()

    def run(self, workers: int, function: Task, *arguments: Any) -> list[Any]:
        """`function(world, *arguments)` on each of `workers` processes; the results by rank."""
        for tasks in self._tasks[:workers]:
            tasks.put((function, workers, arguments))
        found: dict[int, Any] = {}
        for _ in range(workers):
            try:
                rank, result, error = self._results.get(timeout=240)
            except queue.Empty:
                raise AssertionError(f"{workers - len(found)} of {workers} workers did not answer") from None
            assert not error, f"rank {rank} failed:\n{error}"
            found[rank] = result
        return [found[rank] for rank in range(workers)]

    def close(self) -> None:
        for tasks in self._tasks:
            tasks.put(None)
        for process in self._processes:
            process.join(timeout=10)
            process.kill()
        self._folder.cleanup()
