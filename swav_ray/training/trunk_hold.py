"""The trunk that a run starts with (`train.init_from`) at the start of the run: frozen, or at a fraction of the rate.

With a fresh head and a trunk that learns at the full rate, the first gradients come from a random head and destroy what
the trunk knows. All here depends on the step alone, so the number of workers and a restart change nothing.
"""

from __future__ import annotations

from typing import Any

import torch

from swav_ray.config import TrainConfig
from swav_ray.model.swav import SwAVModel, is_trunk


class TrunkHold:
    """What `train.init_trunk_epochs` and `train.init_trunk_lr_factor` ask for.

    Args:
        config: the run's section.
        steps_per_epoch: global batches an epoch.
    """

    def __init__(self, config: TrainConfig, steps_per_epoch: int) -> None:
        self._steps = round(config.init_trunk_epochs * steps_per_epoch)
        self._factor = config.init_trunk_lr_factor

    def freezes(self, step: int) -> bool:
        """Whether neither a weight nor a running statistic of the trunk may move in a step."""
        return step < self._steps and self._factor == 0

    def parameters(self, model: SwAVModel) -> list[dict[str, Any]]:
        """The optimizer's groups: one, or the trunk and the rest if their rates differ."""
        named = list(model.named_parameters())
        if not self._steps:
            return [{"params": [parameter for _, parameter in named]}]
        return [
            {"params": [parameter for name, parameter in named if is_trunk(name)]},
            {"params": [parameter for name, parameter in named if not is_trunk(name)]},
        ]

    def set_rates(self, optimizer: torch.optim.Optimizer, lr: float, step: int) -> None:
        """Gives every group of `parameters` its learning rate of a step, of which `lr` is the head's."""
        for group in optimizer.param_groups:
            group["lr"] = lr
        if step < self._steps:
            optimizer.param_groups[0]["lr"] = lr * self._factor
