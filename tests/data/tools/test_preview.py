"""The contact sheet shows the very crops that training would see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swav_ray.config import AugmentConfig, Config, CropsConfig
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.manifest import build
from swav_ray.data.tools.preview import contact_sheet
from tests.data.images import image, write_files

SMALL = CropsConfig(sizes=(48, 16), counts=(2, 3), min_scales=(0.3, 0.1), max_scales=(1.0, 0.3))


@pytest.mark.parametrize("color_device", ["cpu", "train"])
def test_the_crops_on_the_sheet_are_trainings(tmp_path: Path, color_device: str) -> None:
    manifest = build(str(write_files(tmp_path, {f"{c}/{i}.jpg": image(i) for c in "ab" for i in range(3)})))
    config = Config(crops=SMALL, augment=AugmentConfig(color_device=color_device))
    sheet = np.asarray(contact_sheet(manifest, config, samples=2, epoch=3))
    multi_crop = MultiCrop(SMALL, AugmentConfig(), config.run.seed)
    for sample_id in (0, 5):  # the first and the last: spread evenly
        crops = multi_crop.buffers(1)
        multi_crop(image(sample_id % 3), 3, sample_id, crops, 0)
        for crop in (crop[0] for group in crops for crop in group):
            assert any_place_equals(sheet, crop)


def any_place_equals(sheet: np.ndarray, crop: np.ndarray) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (*crop.shape[:2], 3))[:, :, 0]
    corners = np.argwhere((windows[..., 0, 0, :] == crop[0, 0]).all(-1))
    return any((windows[top, left] == crop).all() for top, left in corners)


def test_an_unreadable_image_is_shown_as_such(tmp_path: Path) -> None:
    manifest = build(str(write_files(tmp_path, {"a.jpg": b"no image", "b.jpg": image(1)})))
    assert contact_sheet(manifest, Config(crops=SMALL), samples=5).height > 2 * 48
