"""Which steps are refused: those whose loss or gradient is not finite, or whose loss is beyond reason."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from swav_ray.config import Config


def most_loss(config: Config) -> float:
    """ln K + 1 / temperature, of several heads the mean: half way to the largest loss that unit vectors can have."""
    prototypes = config.model.prototypes
    return sum(map(math.log, prototypes)) / len(prototypes) + 1 / config.train.temperature


def must_refuse(config: Config, loss: Tensor, norm: Tensor) -> Tensor:
    """Whether a step of this loss and gradient norm is refused, (), decided where they are: nobody waits for it."""
    return ~(torch.isfinite(loss) & (loss <= most_loss(config)) & torch.isfinite(norm))


def why_refuse(config: Config, loss: float, norm: float = 0.0) -> str:
    """The reason in words, or '' if the step is not refused."""
    limit = most_loss(config)
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    if loss > limit:
        return f"the loss, {loss:.4g}, is above ln K + 1 / temperature = {limit:.4g}"
    return "" if math.isfinite(norm) else f"the gradient's norm is {norm}"
