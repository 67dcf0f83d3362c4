"""The most memory that a contender takes."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Build = Callable[..., Callable[[], object]]


def peak_bytes(device: torch.device, build: Build, *arguments: Any) -> int:
    """The peak of two steps of a contender, its weights included, beyond what the process had before it was built.

    Of CUDA, what the allocator gave out; of the CPU, resident memory, in a process of its own.

    Args:
        build: makes the step of the contender out of `arguments`; a module's function.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _two(build, arguments)
        return torch.cuda.max_memory_allocated(device) - before
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_resident, (torch.get_num_threads(), build, arguments))


def _resident(threads: int, build: Build, arguments: tuple[Any, ...]) -> int:
    torch.set_num_threads(threads)
    before = int((Path("/proc/self/statm").read_text()).split()[1]) * resource.getpagesize()
    _two(build, arguments)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def _two(build: Build, arguments: tuple[Any, ...]) -> None:
    step = build(*arguments)
    step()
    step()
