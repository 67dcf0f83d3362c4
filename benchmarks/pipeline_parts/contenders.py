"""Who takes turns: our batches in this process, in a process a core, and through Ray; torch's DataLoader.

Each has `round(seconds)`: images per second by the clock and per CPU second.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.multi_crop import pil_pipeline
from benchmarks.pipeline_parts.machine import Machine, measured, wait_until_idle
from swav_ray.config import CropsConfig
from swav_ray.data.batches import BatchMaker
from swav_ray.launch.feed import Feed
from swav_ray.training.distributed import World

STEPS = 1_000_000  # more than any round reads


class InProcess:
    def __init__(self, maker: BatchMaker) -> None:
        self._maker, self._step = maker, 0

    def round(self, seconds: float) -> tuple[float, float]:
        return measured(self._make, seconds)

    def _make(self) -> int:
        (ids,) = self._maker.plan.batches(self._step, self._step + 1)
        self._step += 1
        return len(self._maker.make(self._step - 1, ids).sample_ids)


class Processes:
    """A process a core, each making other batches of the plan; nothing passes between them but a count of images."""

    def __init__(self, maker: BatchMaker, cpus: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._go = context.Event()
        self._made = [context.Value("q", 0) for _ in range(cpus)]
        for index, made in enumerate(self._made):
            arguments = (maker, index, cpus, made, self._go)
            context.Process(target=_make_batches, args=arguments, daemon=True).start()

    def round(self, seconds: float) -> tuple[float, float]:
        self._go.set()
        last = self._total()
        while any(made.value == before for made, before in zip(self._made, last, strict=True)):
            time.sleep(0.01)
        last = self._total()

        def step() -> int:
            nonlocal last
            time.sleep(0.01)
            before, last = last, self._total()
            return sum(last) - sum(before)

        figures = measured(step, seconds)
        self._go.clear()
        while self._total() != last:  # those that were being made
            last = self._total()
            time.sleep(2.0)
        return figures

    def _total(self) -> list[int]:
        return [made.value for made in self._made]


def _make_batches(maker: BatchMaker, index: int, cpus: int, made: Any, go: Any) -> None:
    torch.set_num_threads(1)
    for step in range(index, STEPS, cpus):
        go.wait()
        (ids,) = maker.plan.batches(step, step + 1)
        made.value += len(maker.make(step, ids).sample_ids)


class Ray:
    """A new feed each round, so that no round starts with what was made between the rounds."""

    def __init__(self, maker: BatchMaker, cpus: int) -> None:
        self._maker, self._cpus = maker, cpus
        self.first_batch: list[float] = []
        self.memory: list[tuple[int, int]] = []  # at the start and at the end of each turn

    def round(self, seconds: float) -> tuple[float, float]:
        started = time.perf_counter()
        feed = Feed(self._maker, World(), 0, STEPS)
        next(feed)
        self.first_batch.append(time.perf_counter() - started)
        for _ in range(4 * self._cpus + 2):  # past those that the start of the feed delayed
            next(feed)
        before = Machine.memory()
        figures = measured(lambda: len(next(feed).sample_ids), seconds)
        self.memory.append((before, Machine.memory()))
        feed.close()
        wait_until_idle()
        return figures


class Photos(Dataset):
    """The files of a folder through the published augmentation: 8 float tensors an image."""

    def __init__(self, files: list[Path]) -> None:
        self._files, self._pipeline = files, pil_pipeline(CropsConfig(), to_tensor=True)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> object:
        return self._pipeline(self._files[index].read_bytes(), index)


class Endless(torch.utils.data.Sampler):
    def __init__(self, count: int) -> None:
        self._count = count

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from torch.randperm(self._count).tolist()


class Torch:
    """Small batches, whose size its rate does not depend on, since at its rate a large one takes seconds."""

    def __init__(self, files: list[Path], cpus: int) -> None:
        self._options: dict[str, Any] = {"batch_size": 16, "num_workers": cpus, "sampler": Endless(len(files))}
        self._files, self._cpus = files, cpus

    def round(self, seconds: float) -> tuple[float, float]:
        batches = iter(DataLoader(Photos(self._files), **self._options))
        for _ in range(3 * self._cpus):  # past what is prefetched
            next(batches)
        return measured(lambda: len(next(batches)[0]), seconds)
