"""What a task does to parts of a store of features; pickled once and sent to every task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from swav_ray.data.manifest import Manifest
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.features.store import FeatureStore
from swav_ray.features.embedding import crops_of, embed
from swav_ray.features.folded import folded
from swav_ray.features.packed import on_device
from swav_ray.weights.backbone import Backbone


@dataclass(frozen=True)
class Crops:
    """The images of a part, as `crops_of` gives them."""

    part: int
    crops: np.ndarray
    reasons: Sequence[str | None]
    again: bool


class ExtractPart:
    """Reads the images of parts of a store, and writes their features.

    Args:
        backbone: on the CPU. manifest: of the whole place.
    """

    mistake = EvaluationError

    def __init__(self, backbone: Backbone, manifest: Manifest, store: FeatureStore) -> None:
        self._backbone, self._manifest, self._store = folded(backbone), manifest, store
        self._ready: Backbone | None = None  # for the device of this process

    def images(self, part: int) -> int:
        return len(self._store.ids(part))

    def is_made(self, part: int) -> bool:
        return self._store.is_made(part)

    def read(self, part: int, threads: int) -> Crops:
        size = self._backbone.preprocess.image_size
        return Crops(part, *crops_of(self._manifest, self._store.ids(part), size, threads))

    def write(self, read: Crops, device: torch.device) -> None:
        precision = self._store.of.precision
        if self._ready is None:
            self._ready = on_device(self._backbone, device, precision)
        features = embed(self._ready, read.crops, device, precision)
        self._store.write(read.part, features, read.reasons, again=read.again)
