"""What is exported, and real images with the features that every reader of an export must reproduce."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn

from swav_ray.data.crops.center_crop import center_crop
from swav_ray.model.normalize import normalize
from swav_ray.weights.backbone import Backbone
from swav_ray.weights.read import WeightsError


class FromPixels(nn.Module):
    """A trunk that takes pixels, (N, 3, H, W) uint8 RGB, and normalises them itself as `normalize` does."""

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: nn.Module, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        super().__init__()
        self.trunk = trunk
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)

    def forward(self, images: Tensor) -> Tensor:
        return self.trunk((images.to(torch.float32) - self.mean) / self.std)


class Source:
    """A backbone on its way out.

    Attributes:
        backbone: on the CPU.
        pixels: whether the exported network takes pixels instead of normalised images.
    """

    def __init__(self, backbone: Backbone, *, pixels: bool = False) -> None:
        self.backbone, self.pixels = backbone, pixels

    @property
    def network(self) -> nn.Module:
        """What computes features from `images`."""
        if not self.pixels:
            return self.backbone.trunk
        prepare = self.backbone.preprocess
        return FromPixels(self.backbone.trunk, prepare.mean, prepare.std).eval()

    @cached_property
    def images(self) -> Tensor:
        """Five photos, (5, 3, S, S): normalised float32, or uint8 with `pixels`."""
        from sklearn.datasets import load_sample_images  # takes a second to import, and most commands need none

        size = self.backbone.preprocess.image_size
        photos = list(load_sample_images().images)
        photos += [photos[0][:, ::-1], photos[0][:200, :200], photos[1][-200:, -200:]]
        crops = torch.stack([torch.from_numpy(center_crop(photo, size)) for photo in photos])
        if self.pixels:
            return crops.permute(0, 3, 1, 2).contiguous()
        prepare = self.backbone.preprocess
        return normalize(crops, mean=prepare.mean, std=prepare.std).contiguous()

    @cached_property
    def features(self) -> Tensor:
        """(5, feature_dim) of the images.

        Raises:
            WeightsError: they say nothing, since they are not finite or all 0.
        """
        with torch.inference_mode():
            features = self.network(self.images)
        if not features.isfinite().all() or not features.any():
            raise WeightsError(f"{self.backbone.origin.place}: its features of real photos are not finite, or all 0")
        return features
