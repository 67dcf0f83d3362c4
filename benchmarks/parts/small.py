"""A net and crops small enough that a step takes milliseconds, with every branch of the step in use."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from swav_ray.config import Config, replace
from swav_ray.recipes import quickstart


def small_config(**sections: dict[str, object]) -> Config:
    """Two heads, a queue that fills, a freeze, an uneven batch: every branch of the step."""
    base = replace(
        quickstart(),
        crops={"sizes": (16, 8), "counts": (2, 1), "min_scales": (0.3, 0.1), "max_scales": (1.0, 0.4)},
        model={"width": 0.125, "hidden_dim": 12, "output_dim": 8, "prototypes": (6, 5)},
        queue={"length": 16, "start_epoch": 1},
        optim={"base_lr": 4.0, "freeze_prototypes_steps": 2, "warmup_epochs": 1.0},
        train={"epochs": 4, "global_batch_size": 8},
    )
    return replace(base, **sections)


def crops(config: Config, step: int, rows: slice) -> list[Tensor]:
    """Random crops of a global batch, of which `rows` are this worker's.

    Returns:
        For each group (count * rows, 3, size, size) float64, crop-major.
    """
    rng = np.random.default_rng(step)
    batch = config.train.global_batch_size
    groups = []
    for count, size in zip(config.crops.counts, config.crops.sizes, strict=True):
        images = torch.from_numpy(rng.standard_normal((count, batch, 3, size, size)))
        groups.append(images[:, rows].flatten(0, 1))
    return groups
