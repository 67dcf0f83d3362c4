"""Linear classifiers on a frozen backbone: one, or dozens with other settings on one stream of features.

Shape suffixes: H heads, C classes, D features, B images of this worker.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from swav_ray.evaluate.fit.task import MOMENTUM
from swav_ray.training.distributed import World

_INITIAL_STD = 0.01  # of the weights, as in the published script


class Heads:
    """Linear classifiers that train side by side: SGD with momentum as torch has it, each with its own settings.

    Args:
        lrs, weight_decays: (H,) of each head.
        seed: all heads begin with the same weights.
    """

    def __init__(
        self,
        classes: int,
        features: int,
        lrs: Tensor,
        weight_decays: Tensor,
        *,
        momentum: float,
        seed: int,
        device: torch.device,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        weight_CD = torch.empty(classes, features).normal_(0, _INITIAL_STD, generator=generator)
        heads = len(lrs)
        self.weight_HCD = weight_CD.repeat(heads, 1, 1).to(device)
        self.bias_HC = torch.zeros(heads, classes, device=device)
        self._velocity = [torch.zeros_like(self.weight_HCD), torch.zeros_like(self.bias_HC)]
        self._lrs, self._weight_decays = lrs.to(device), weight_decays.to(device)
        self._momentum = momentum

    def scores(self, features_BD: Tensor) -> Tensor:
        """(B, H, C), by one matrix product."""
        heads, classes, _ = self.weight_HCD.shape
        flat = F.linear(features_BD, self.weight_HCD.flatten(0, 1), self.bias_HC.flatten())
        return flat.view(-1, heads, classes)

    def step(self, features_BD: Tensor, labels_B: Tensor, factor: float, batch: int, world: World) -> Tensor:
        """One step on a global batch of `batch` images, of which these are this worker's; the mean losses (H,).

        Args:
            factor: of the learning rates, at this step.
        """
        parameters = [self.weight_HCD.requires_grad_(), self.bias_HC.requires_grad_()]
        scores_BHC = self.scores(features_BD)
        heads = scores_BHC.shape[1]
        losses_BH = F.cross_entropy(scores_BHC.flatten(0, 1), labels_B.repeat_interleave(heads), reduction="none").view(
            -1, heads
        )
        # The sum over heads: no head's loss depends on another's weights.
        gradients = torch.autograd.grad(losses_BH.sum() / batch, parameters)
        losses_H = world.sum(losses_BH.detach().sum(0) / batch)
        with torch.no_grad():
            for parameter, velocity, gradient in zip(parameters, self._velocity, gradients, strict=True):
                shape = (-1, *([1] * (parameter.dim() - 1)))
                decay, lr = self._weight_decays.view(shape), factor * self._lrs.view(shape)
                velocity.mul_(self._momentum).add_(world.sum(gradient) + decay * parameter)
                parameter.sub_(lr * velocity)
                parameter.requires_grad_(False)
        return losses_H

    def state(self) -> dict[str, Tensor]:
        """Weights and momentum, by name."""
        return {
            "weight": self.weight_HCD,
            "bias": self.bias_HC,
            f"{MOMENTUM}weight": self._velocity[0],
            f"{MOMENTUM}bias": self._velocity[1],
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts back what `state` gave."""
        for name, tensor in self.state().items():
            tensor.copy_(tensors[name])
