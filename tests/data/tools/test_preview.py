"""The contact sheet shows the very crops that training would see."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swav_ray import settings
from swav_ray.config import AugmentConfig, Config, CropsConfig
from swav_ray.data.__main__ import main
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


def test_the_command_writes_a_png(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path / "images", {f"{i}.jpg": image(i) for i in range(3)})
    assert main(["preview", str(tmp_path / "images"), str(tmp_path / "out" / "sheet.png"), "--samples", "2"]) == 0
    sheet = Image.open(io.BytesIO((tmp_path / "out" / "sheet.png").read_bytes()))
    assert capsys.readouterr().out == f"{tmp_path}/out/sheet.png: {sheet.width} x {sheet.height} pixels\n"


def test_the_command_takes_a_runs_config_and_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path / "images", {f"{i}.jpg": image(i) for i in range(3)})
    file, sheet = tmp_path / "config.yaml", tmp_path / "sheet.png"
    file.write_text(settings.to_yaml(Config(crops=SMALL, augment=AugmentConfig(flip_probability=1.0))))
    command = ["preview", str(tmp_path / "images"), str(sheet), "--samples", "1", "--config", str(file)]
    assert main([*command, "--crops.sizes", "40", "16"]) == 0
    config = Config(
        crops=CropsConfig(sizes=(40, 16), counts=(2, 3), min_scales=(0.3, 0.1), max_scales=(1.0, 0.3)),
        augment=AugmentConfig(flip_probability=1.0),
    )
    expected = contact_sheet(build(str(tmp_path / "images")), config, samples=1)
    assert np.array_equal(np.asarray(Image.open(sheet)), np.asarray(expected))
    capsys.readouterr()
    for words, said in (
        (["--crop.sizes", "40", "16"], "crop.sizes: no such setting; did you mean crops.sizes?"),
        (["--config", str(tmp_path / "none.yaml")], "none.yaml': is no readable YAML file"),
    ):
        assert main([*command[:5], *words]) == 2
        assert said in capsys.readouterr().err
    assert main(["index", str(tmp_path / "images"), "--crops.sizes", "40"]) == 2
    assert "--crops.sizes: this command takes no settings" in capsys.readouterr().err
