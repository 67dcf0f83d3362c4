"""A detector on a backbone, whatever its kind: what training gives it, and what it finds in an image.

torchvision's detectors resize images and draw samples themselves. Here images come resized (examples.py), and draws are
keyed by image, so that a resumed run and another number of workers draw the same.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from swav_ray.evaluate.detect import c4, fpn
from swav_ray.evaluate.detect import masks as codes
from swav_ray.evaluate.detect.examples import Example
from swav_ray.evaluate.detect.settings import FASTER_RCNN_C4, Settings
from swav_ray.weights.backbone import Backbone


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in one image: boxes (N, 4) float32 in its own pixels, scores (N,), labels (N,) from 0, masks."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: Sequence[dict[str, Any]] | None = None


class Detector(nn.Module):
    """torchvision's detector; called with a batch in training it returns its losses.

    Args:
        network: of a kind. backbone: whose normalisation it takes.
    """

    def __init__(self, network: GeneralizedRCNN, backbone: Backbone) -> None:
        super().__init__()
        self.network = network
        mean, std = backbone.preprocess.mean, backbone.preprocess.std
        network.transform = _Normalise(1, 1, list(mean), list(std))
        self._samplers = [_KeyedSampler(part.fg_bg_sampler) for part in (network.rpn, network.roi_heads)]
        network.rpn.fg_bg_sampler, network.roi_heads.fg_bg_sampler = self._samplers

    def forward(self, batch: Sequence[Example]) -> dict[str, Tensor]:
        """The losses of a batch by name."""
        device = next(self.parameters()).device
        for sampler in self._samplers:
            sampler.keys = [example.key for example in batch]
        losses: dict[str, Tensor] = self.network(_images(batch, device), [_target(one, device) for one in batch])
        return losses

    @torch.no_grad()
    def find(self, batch: Sequence[Example], sizes: Sequence[tuple[int, int]]) -> list[Found]:
        """What is in images.

        Args:
            sizes: height and width of each image before it was resized, whose pixels boxes and masks are in.
        """
        net = self.network
        images, _ = net.transform(_images(batch, next(self.parameters()).device))
        features = net.backbone(images.tensors)
        features = {"0": features} if isinstance(features, Tensor) else features
        proposals, _ = net.rpn(images, features)
        found, _ = net.roi_heads(features, proposals, images.image_sizes)
        return [_found(one) for one in net.transform.postprocess(found, images.image_sizes, list(sizes))]


class _Normalise(GeneralizedRCNNTransform):
    """Normalises and pads; images come resized."""

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        return image, target


class _KeyedSampler(BalancedPositiveNegativeSampler):
    """Draws for each image from a seed of its own."""

    def __init__(self, like: BalancedPositiveNegativeSampler) -> None:
        super().__init__(like.batch_size_per_image, like.positive_fraction)
        self.keys: list[int] = []

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        positive, negative = [], []
        for matched, key in zip(matched_idxs, self.keys, strict=True):
            torch.manual_seed(key)
            own = super().__call__([matched])
            positive += own[0]
            negative += own[1]
        return positive, negative


def build(settings: Settings, backbone: Backbone, classes: int, *, masks: bool) -> Detector:
    """A detector on a copy of the backbone's trunk, all of it to be trained; new layers are drawn from the seed.

    Args:
        classes: number of them, without the background. masks: whether it finds masks too.
    """
    trunk = copy.deepcopy(backbone.trunk).requires_grad_(True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if settings.detector == FASTER_RCNN_C4:
            network = c4.faster_rcnn(trunk, classes, settings)
        else:
            network = fpn.mask_rcnn(trunk, classes, settings, masks=masks)
    return Detector(network, backbone)


def _images(batch: Sequence[Example], device: torch.device) -> list[Tensor]:
    pixels = [torch.from_numpy(example.image).to(device, non_blocking=True) for example in batch]
    return [image.permute(2, 0, 1).to(torch.float32) / 255 for image in pixels]


def _target(example: Example, device: torch.device) -> dict[str, Tensor]:
    arrays = {"boxes": example.boxes, "labels": example.labels}
    if example.masks is not None:
        arrays["masks"] = example.masks
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def _found(result: dict[str, Tensor]) -> Found:
    masks = None
    if "masks" in result:
        binary = (result["masks"][:, 0] >= 0.5).to(torch.uint8).cpu().numpy()
        masks = [codes.encode(mask) for mask in binary]
    return Found(
        boxes=result["boxes"].cpu().numpy(),
        scores=result["scores"].cpu().numpy(),
        labels=result["labels"].cpu().numpy() - 1,
        masks=masks,
    )
