"""What the device can do at most: a matrix product and a copy, measured on the spot."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

_SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices
_COPIED = {"cpu": 256 << 20, "cuda": 1 << 30}  # bytes, more than any cache holds


def timed(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds of `work`, the device's part included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def matmul_flops(device: torch.device, dtype: torch.dtype, rounds: int) -> float:
    """The most operations a second of a square matrix product, over so many rounds.

    As torch multiplies matrices and as it convolves 1x1: on a CPU two libraries do that, and either may be the faster.
    """
    side = _SIDE[device.type]
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    image, kernels = b.view(1, side, side, 1), a.view(side, side, 1, 1)
    products = (lambda: torch.mm(a, b, out=out)), (lambda: torch.conv2d(image, kernels))
    seconds = min(timed(device, product) for product in products for _ in range(rounds + 1))
    return 2 * side**3 / seconds


def copy_bytes(device: torch.device, rounds: int) -> float:
    """The most bytes a second that are read and written by a copy that no cache holds."""
    source = torch.ones(_COPIED[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = min(timed(device, lambda: target.copy_(source)) for _ in range(rounds + 1))
    return 2 * source.numel() / seconds
