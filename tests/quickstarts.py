"""The quickstart with the numbers that tests of rules count with."""

from __future__ import annotations

from swav_ray import recipes
from swav_ray.config import Config, replace


def quickstart() -> Config:
    """As it was in 0.1.0: 2x32 + 2x24 crops, 24 epochs of 23 steps, a rate of 4 without a warm-up."""
    return replace(
        recipes.quickstart(),
        crops={"sizes": (32, 24), "counts": (2, 2), "min_scales": (0.4, 0.1), "max_scales": (1.0, 0.3)},
        optim={"base_lr": 4.0, "warmup_epochs": 0.0},
        train={"epochs": 24},
        eval={"knn_every_epochs": 8},
    )
