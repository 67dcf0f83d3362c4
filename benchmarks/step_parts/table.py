"""Where a step's time goes, by kinds of operations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

# The first kind whose words an operation's name has.
_KINDS = {
    "convolutions": ("conv", "slow_conv"),
    "BatchNorm": ("batch_norm",),
    "ReLU, pooling": ("relu", "threshold", "pool"),
    "matrix products": ("mm", "mv", "linear", "bmm", "matmul"),
    "exponentials, softmax": ("exp", "softmax", "logsumexp", "log"),
    "optimizer": ("foreach", "fused_sgd", "norm"),
    "additions, products, divisions": ("add", "mul", "div", "sub"),
    "copies, casts, fills": ("copy", "cat", "zero", "fill", "clone", "to", "stack"),
    "sums": ("sum", "mean", "max"),
}


def table(step: Callable[[], object], device: torch.device) -> str:
    """The seconds of one step by kind of operation, as text; of the device itself if it is CUDA."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities) as profiled:
        step()
    seconds: dict[str, float] = defaultdict(float)
    for event in profiled.key_averages():
        own = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        seconds[_kind(event.key)] += own / 1e6
    whole = sum(seconds.values())
    rows = sorted(seconds.items(), key=lambda row: -row[1])
    return "\n".join(f"{kind:<32}{value:9.4f} s {100 * value / whole:5.1f}%" for kind, value in rows)


def _kind(name: str) -> str:
    name = name.removeprefix("aten::")
    return next((kind for kind, words in _KINDS.items() if any(word in name for word in words)), "other")
