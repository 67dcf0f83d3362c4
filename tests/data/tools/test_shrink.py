"""Large images become smaller without aliasing and keep what they are; small ones keep every byte."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from swav_ray.data.decoding.decode import SourceImage, decode
from swav_ray.data.tools.shrink import shrunk
from tests.data.decoding.test_decode import difference, encoded, photo
from tests.data.decoding.test_levels import clip_art, ramp


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_large_image_is_averaged_to_the_longer_side_that_is_asked_for(kind: str) -> None:
    data = encoded(photo(400, 300), kind)
    small = shrunk(data, 100)
    assert Image.open(io.BytesIO(small)).format == ("JPEG" if kind == "JPEG" else "PNG")
    expected = Image.fromarray(decode(data)).resize((100, 75), Image.Resampling.BOX)
    assert difference(decode(small), np.asarray(expected)) < 3  # of which JPEG has its part


@pytest.mark.parametrize("side", [64, 65, 10_000])
def test_no_image_is_enlarged_or_written_anew_without_need(side: int) -> None:
    data = encoded(photo(64, 48), "JPEG")
    assert shrunk(data, side) == data


def test_an_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    source = SourceImage(shrunk(encoded(photo(128, 96), "JPEG", exif=exif), 64))
    assert (source.height, source.width) == (64, 48)


def test_deep_greyscale_keeps_its_values() -> None:
    small = shrunk(encoded(ramp(0, 4095, np.uint16), "PNG"), 48)
    found = SourceImage(small).deep_samples()
    assert found is not None
    assert found[0].shape == (32, 48)
    assert abs(int(found[0].max()) - 4095) < 40


def test_transparency_stays_and_hidden_colours_do_not_show() -> None:
    small = np.asarray(Image.open(io.BytesIO(shrunk(encoded(clip_art("RGBA"), "PNG"), 8))))
    assert small.shape == (8, 8, 4)
    seen = small[small[..., 3] > 0]
    assert np.abs(seen[:, :3].astype(int) - (200, 30, 30)).max() <= 1
    assert small[0, 0, 3] == 0


def test_an_unreadable_image_stays_as_it_is() -> None:
    assert shrunk(b"nothing", 8) == b"nothing"
