"""malloc as a run of ours has it, and as it is by default: contenders in one process need both."""

from __future__ import annotations

import ctypes

from swav_ray.training.torch_setup import keep_memory

# glibc's own values: at most 65,536 mappings, and a free end of the heap above 128 KiB goes back.
_M_TRIM_THRESHOLD, _TRIM = -1, 128 << 10
_M_MMAP_MAX, _MAPPINGS = -4, 65_536


def keep() -> None:
    """As `performance.keep_memory`."""
    keep_memory()


def by_default() -> None:
    """As a process that sets nothing."""
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, _MAPPINGS)
    libc.mallopt(_M_TRIM_THRESHOLD, _TRIM)
    libc.malloc_trim(0)
