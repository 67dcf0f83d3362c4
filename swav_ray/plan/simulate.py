"""A run played step by step with random numbers, against which the formulas of estimate.py are checked.

Crops arrive at their makers' rate and wait in a short queue; every GPU draws its own time for each step, and the step
lasts as long as the slowest one; machines are preempted at random and the run returns to its last checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

QUEUE_STEPS = 4  # global batches that are prefetched


@dataclass(frozen=True)
class Hardware:
    """Rates in images/s: of one GPU, and of all crop makers together. `communication` in seconds a step."""

    gpus: int
    gpu_rate: float
    crop_rate: float
    communication: float
    spread: float


def epoch_seconds(hardware: Hardware, images: int, batch: int, seed: int = 0) -> float:
    """Seconds of one epoch of `images` in steps of `batch`; the tail is dropped."""
    rng = np.random.default_rng(seed)
    steps = images // batch
    mean = batch / hardware.gpus / hardware.gpu_rate
    sigma = np.sqrt(np.log1p(hardware.spread**2))
    times = mean * rng.lognormal(-(sigma**2) / 2, sigma, (steps, hardware.gpus)).max(axis=1) + hardware.communication
    making = batch / hardware.crop_rate * rng.lognormal(-(sigma**2) / 2, sigma, steps)
    made, done, ends = 0.0, 0.0, np.zeros(steps)
    for step in range(steps):
        # A maker starts on the next batch when there is room for it.
        room = ends[step - QUEUE_STEPS] if step >= QUEUE_STEPS else 0.0
        made = max(made, room) + making[step]
        done = max(done, made) + times[step]
        ends[step] = done
    return float(done)


def interrupted_share(
    hours: float, between: float, checkpoint: float, restart: float, interval: float, notice: bool, seed: int = 0
) -> float:
    """Time lost to checkpoints and interruptions, as a share of `hours` of work; times in seconds."""
    rng = np.random.default_rng(seed)
    left, clock, since = hours * 3600.0, 0.0, 0.0  # since: work after the last checkpoint
    failure = rng.exponential(between)
    while left > 0:
        until = min(interval - since, left)
        if clock + until < failure:
            clock, left, since = clock + until, left - until, since + until
            if left > 0:
                clock, since = clock + checkpoint, 0.0
            failure = max(failure, clock)
            continue
        worked = failure - clock
        clock = failure + restart + (checkpoint if notice else 0.0)
        if notice:
            left -= worked
        else:
            left += since
        since = 0.0
        failure = clock + rng.exponential(between)
    return clock / (hours * 3600.0) - 1.0


def published(rates: dict[str, Any]) -> Hardware:
    """The paper's 64-GPU run: 8 machines of 8 V100 (16 GB), 10 loader processes a GPU, as its launch script has it.

    The network is not stated; 100 Gbit/s a machine is assumed. The GPU's rate comes from the published 4-GPU run.
    """
    gpus, machines = 64, 8
    cores = gpus * 10 * float(rates["cpu"]["vcpu_of_a_core"])
    parameters = 23.5e6 + 2048 * 2048 + 2048 * 128 + 128 * 3000
    inward = 100e9 / 8 * float(rates["network"]["share"])
    # BatchNorm was synchronised within a machine: 53 layers, forward and backward, at two resolutions.
    small = 53 * 2 * 2 * float(rates["network"]["collective_seconds"])
    return Hardware(
        gpus=gpus,
        gpu_rate=float(rates["gpus"]["V100"]["images_per_second"]),
        crop_rate=cores * 1000 / float(rates["cpu"]["pil_ms_per_image"]),
        communication=2 * (machines - 1) / machines * 4 * parameters / inward + small,
        spread=float(rates["gpu_spread"]["value"]),
    )


PUBLISHED_EPOCH_SECONDS = 3 * 60 + 40
PUBLISHED_IMAGES = 1_281_167
PUBLISHED_BATCH = 4096
