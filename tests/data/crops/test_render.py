"""A group of crops is cut, coloured and blurred as PIL does it; a JPEG is decoded no larger than crops need."""

from __future__ import annotations

import numpy as np
from PIL import Image

from swav_ray.config import AugmentConfig, CropsConfig
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.crops.render import eighths_needed
from swav_ray.data.decoding.decode import decode
from tests.data.crops.photos import PHOTOS, SMALL, crops_of, jpeg
from tests.data.crops.pil_multi_crop import pil_color, pil_cut


def test_crops_are_the_boxes_drawn() -> None:
    multi_crop = MultiCrop(SMALL, AugmentConfig(color_device="train"), seed=1)
    out = crops_of(multi_crop, np.array(PHOTOS[0]), 4, 9)
    boxes, _ = multi_crop.draw(240, 320, 4, 9)
    for box, crop in zip(boxes, [crop for group in out for crop in group], strict=True):
        assert np.abs(np.asarray(pil_cut(PHOTOS[0], box, len(crop))).astype(int) - crop).mean() < 0.5


def test_sizes_off_the_tiles_are_right_too() -> None:
    crops = CropsConfig(sizes=(9, 50), counts=(1, 1), min_scales=(0.5, 0.5), max_scales=(1.0, 1.0))
    multi_crop = MultiCrop(crops, AugmentConfig(), seed=0)
    boxes, colors = multi_crop.draw(240, 320, 0, 0)
    for index, group in enumerate(crops_of(multi_crop, np.array(PHOTOS[1]))):
        expected = pil_color(pil_cut(PHOTOS[1], boxes[index], crops.sizes[index]), colors[index])
        assert np.abs(np.asarray(expected).astype(int) - group[0]).mean() < 1.5


def test_a_large_jpeg_decoded_smaller_gives_the_same_crops() -> None:
    large = PHOTOS[0].resize((2000, 1500), Image.Resampling.BICUBIC)
    data = jpeg(large, 92)
    multi_crop = MultiCrop(SMALL, AugmentConfig(color_device="train"), seed=0)
    for sample in range(4):
        small_decode = crops_of(multi_crop, data, 0, sample)
        full_decode = crops_of(multi_crop, decode(data), 0, sample)
        for a, b in zip(small_decode, full_decode, strict=True):
            assert np.abs(a.astype(int) - b).mean() < 1


def test_a_jpeg_is_halved_while_every_crop_still_shrinks_by_two_from_there() -> None:
    sizes = np.array([32, 16])

    def needed(*sides: int) -> int:
        return int(eighths_needed(np.array([(0, 0, side, 2 * side, 0) for side in sides]), sizes))

    assert [needed(side, 10_000) for side in (40, 127, 128, 255, 256, 511, 512, 9_999)] == [8, 8, 4, 4, 2, 2, 1, 1]
    assert needed(10_000, 40) == 8  # the smallest decides
