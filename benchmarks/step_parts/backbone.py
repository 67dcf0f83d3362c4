"""The bare backbone on a step's crops: forward and backward, nothing else; what a step cannot cost less than."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from swav_ray.config import Config
from swav_ray.model.resnet import ResNet


class BareBackbone:
    """A trunk without head, loss and optimizer.

    Args:
        config: of the run. device: of it.
        channels_last: the layout of weights and crops in memory.
    """

    def __init__(self, config: Config, device: torch.device, *, channels_last: bool) -> None:
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._device, self._half = device, config.train.precision == "bf16"
        model = ResNet(config.model.backbone, width=config.model.width, small_image_stem=config.model.small_image_stem)
        self.model = model.to(device).to(memory_format=self._format).train()

    def prepare(self, crops: Sequence[Tensor]) -> list[Tensor]:
        """The crops in this layout."""
        return [group.contiguous(memory_format=self._format) for group in crops]

    def step(self, crops: Sequence[Tensor]) -> None:
        """Forward and backward; the gradient is thrown away."""
        self._loss(crops).backward()
        self.model.zero_grad()

    def operations(self, crops: Sequence[Tensor]) -> int:
        """Floating-point operations of a step, by the shapes of its products and convolutions."""
        with FlopCounterMode(display=False) as counter:
            self._loss(crops).backward()
        self.model.zero_grad()
        return int(counter.get_total_flops())

    def _loss(self, crops: Sequence[Tensor]) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            features = torch.cat([nn.Module.__call__(self.model, group) for group in crops])
        return features.float().square().mean()
