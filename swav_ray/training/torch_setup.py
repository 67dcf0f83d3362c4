"""How a process of a run uses torch, so that the same sums come out the same."""

from __future__ import annotations

import ctypes
import os

import torch

from swav_ray.config import Config

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = 2**31 - 1


def set_up_torch(config: Config, device: torch.device) -> None:
    """Threads as many as a worker has CPUs, and deterministic kernels if `train.deterministic` asks for them."""
    if device.type == "cpu":
        torch.set_num_threads(config.scaling.worker_threads)
        if config.performance.keep_memory:
            keep_memory()
    if config.train.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what torch asks for
        torch.use_deterministic_algorithms(True)


def keep_memory() -> bool:
    """Has malloc keep what a step frees for the next one; whether it can, which takes glibc.

    By default every large tensor is a mapping of its own. The system gets it back when it is freed, and the next step
    pays for its pages again. With this a process stays as large as it has ever been.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER))
