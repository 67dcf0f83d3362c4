"""A run that waits for large images to be decoded says so, once, and what makes them smaller; no other run does."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from swav_ray.config import CropsConfig
from swav_ray.data.batch import Batch
from swav_ray.training.decode_share import DecodeShare, side_needed

MEGA = 1_000_000
EMPTY = np.empty(0, np.uint8)
BATCH = Batch(
    step=0,
    sample_ids=np.arange(2),
    pixels=EMPTY,
    color=EMPTY.view(np.float32),
    bad=[],
    seconds=10.0,
    bytes_read=0,
    retries=0,
    decode_seconds=8.0,
    source_pixels=210 * MEGA,
)


def advice(steps: int = 30, data_wait: float = 0.62, **batch: float) -> list[str]:
    share = DecodeShare(CropsConfig(), "/photos")
    feed = share.watched([dataclasses.replace(BATCH, **batch)] * steps)  # type: ignore[arg-type]
    return [line for _ in feed if (line := share.advice(1.0, data_wait))]


def test_a_run_that_waits_for_the_decoding_of_large_images_says_so_once() -> None:
    (line,) = advice()
    assert re.search(r"waits for crops 62% .* 80% of .* 105\.0 megapixels.*import /photos OUT --max-side 1216", line)


@pytest.mark.parametrize(
    "other",
    [
        {"data_wait": 0.1},
        {"decode_seconds": 4.0},  # the rest is reading, or the crops themselves
        {"source_pixels": 2 * MEGA},  # a side of 1,000: to make them smaller would change what crops show
        {"steps": 19},
    ],
)
def test_a_run_says_nothing_that_waits_little_or_for_something_else_or_has_just_begun(other: dict[str, float]) -> None:
    assert advice(**other) == []  # type: ignore[arg-type]


def test_the_side_leaves_the_smallest_crop_of_each_size_twice_its_pixels() -> None:
    assert side_needed(CropsConfig()) == 1216  # 2 x 224 / sqrt(.14) is 1197.3
    assert side_needed(CropsConfig(sizes=(32,), counts=(2,), min_scales=(0.25,), max_scales=(1.0,))) == 128
