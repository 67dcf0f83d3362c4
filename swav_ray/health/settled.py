"""When a run has had time to show whether it learns."""

from __future__ import annotations

import math

from swav_ray.config import ModelConfig, OptimConfig


def uniform_loss(model: ModelConfig) -> float:
    """ln K, the loss if every prototype is predicted alike; over several heads the mean, as the loss is."""
    return sum(math.log(k) for k in model.prototypes) / len(model.prototypes)


def grace_steps(optim: OptimConfig, steps_per_epoch: int) -> int:
    """The last step that proves nothing about a run: its prototypes are frozen, or its rate is warming up."""
    return max(optim.freeze_prototypes_steps, math.ceil(optim.warmup_epochs * steps_per_epoch))
