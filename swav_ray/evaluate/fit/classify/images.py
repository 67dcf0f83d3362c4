"""Labelled images as a classifier trains on them: random crops through the feed of pretraining, and their labels.

A random resized crop (sides 3/4 to 4/3) and a flip, as in the published protocols; no colour, no blur.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from swav_ray.config import AugmentConfig, CropsConfig, DataConfig
from swav_ray.data.batch import Batch
from swav_ray.data.batches import BatchMaker
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.manifest import Manifest
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.evaluate.features.splits import Split
from swav_ray.evaluate.fit.classify.material import Material
from swav_ray.evaluate.fit.classify.training import Training
from swav_ray.model.normalize import normalize
from swav_ray.weights.backbone import Preprocess

CROP = {"random resized crop": "sides 3/4 to 4/3, area from min_area to 1", "flip": 0.5, "colour, blur": "none"}
_NO_COLOR = AugmentConfig(jitter_probability=0.0, greyscale_probability=0.0, blur_probability=0.0)


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """The images of a split with their labels, as batches.

    Args:
        split: images to train on.
        preprocess: of the network: the size of the crops, and what they are normalised with.
        batch: images a step. seed: of the order and the crops.
        min_area: of a crop, as a fraction of the image.
        max_bad_fraction: of the images that may be unreadable.
    """

    split: Split
    preprocess: Preprocess
    batch: int
    seed: int
    min_area: float
    max_bad_fraction: float = DataConfig().max_bad_fraction

    @staticmethod
    def of(material: Material, split: Split, training: Training) -> LabelledImages:
        """A split of what a protocol is given, for its training."""
        return LabelledImages(
            split,
            material.backbone.preprocess,
            training.batch,
            training.seed,
            training.min_area,
            material.config.data.max_bad_fraction,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches; the images of the tail are left out, others in each epoch."""
        return len(self.split.ids) // self.batch

    @property
    def manifest(self) -> Manifest:
        """Of the whole place."""
        return self.split.manifest

    def maker(self) -> BatchMaker:
        """Makes any batch from its place in the plan."""
        size = self.preprocess.image_size
        crops = CropsConfig(sizes=(size,), counts=(1,), min_scales=(self.min_area,), max_scales=(1.0,))
        plan = SamplePlan(self.split.ids, self.seed, self.batch)
        return BatchMaker(self.manifest, plan, MultiCrop(crops, _NO_COLOR, self.seed), self.max_bad_fraction)

    def tensors(self, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
        """Normalised crops (rows, 3, S, S) and labels (rows,) of a batch, on a device."""
        size, mean, std = self.preprocess.image_size, self.preprocess.mean, self.preprocess.std
        pixels = torch.from_numpy(batch.pixels).view(-1, size, size, 3)
        # An image that stands in for an unreadable one has its own label.
        rows = np.searchsorted(self.split.ids, batch.shown_ids())
        labels = torch.from_numpy(self.split.labels[rows])
        return normalize(_send(pixels, device), mean=mean, std=std), _send(labels, device)


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    # From pinned memory the copy overlaps with what the device is doing.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
