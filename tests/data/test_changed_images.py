"""Images that are written to S3 after the list of images was made are counted; those that are listed again are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swav_ray.config import AugmentConfig
from swav_ray.data import manifest as manifests
from swav_ray.data.batches import BatchMaker
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.manifest import Manifest
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.storage.place import place
from tests.data.makers import CROPS, write_images
from tests.storage.test_changed import write_later

pytestmark = pytest.mark.s3


def changed(found: Manifest) -> int:
    """Images of a batch of all of them that are found to be written later."""
    maker = BatchMaker(found, SamplePlan(found.train_ids(), 0, len(found)), MultiCrop(CROPS, AugmentConfig(), 0))
    return maker.make(0, np.arange(len(found))).changed


def test_a_run_counts_the_images_that_were_written_after_its_list(s3: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    write_images(tmp_path / "images", 4)
    for file in (tmp_path / "images").iterdir():
        (place(s3) / file.name).write_bytes(file.read_bytes())
    cache = place(tmp_path / "lists")
    found = manifests.load_or_build(s3, cache)
    assert changed(found) == 0
    again = place(s3) / "001.jpg"
    write_later(again, again.read_bytes(), found.newest)
    own = manifests.save(found, place(tmp_path / "run.parquet"))
    assert changed(manifests.load(place(tmp_path / "run.parquet"))) == changed(own.take(np.arange(4))) == 1
    listed = manifests.load_or_build(s3, cache)
    assert listed.fingerprint == found.fingerprint
    assert changed(listed) == changed(manifests.load(manifests.cached_at(s3, cache))) == 0
    assert changed(replace(found, newest=0.0)) == 0  # a list of an earlier version
