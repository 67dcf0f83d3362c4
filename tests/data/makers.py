"""Folders of noise, some of it broken, and a maker of small batches from one: what the tests of batches share."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from swav_ray.config import AugmentConfig, CropsConfig
from swav_ray.data import manifest
from swav_ray.data.batches import BatchMaker
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.sample_plan import SamplePlan

CROPS = CropsConfig(sizes=(16, 8), counts=(2, 3), min_scales=(0.3, 0.1), max_scales=(1.0, 0.4))


def write_images(folder: Path, count: int, broken: tuple[int, ...] = ()) -> None:
    rng = np.random.default_rng(0)
    for index in range(count):
        data = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (24, 30, 3), np.uint8)).save(data, "JPEG")
        (folder / f"{index:03d}.jpg").write_bytes(b"no image" if index in broken else data.getvalue())


def make(folder: Path, augment: AugmentConfig | None = None, max_bad_fraction: float = 0.01) -> BatchMaker:
    found = manifest.build(str(folder))
    plan = SamplePlan(found.train_ids(), 0, 6)
    return BatchMaker(found, plan, MultiCrop(CROPS, augment or AugmentConfig(), 0), max_bad_fraction)
