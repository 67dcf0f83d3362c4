"""Colours of 16 bits a band have the range of their data set, as greyscale has; else they are as PIL has them."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from swav_ray.data.decoding.choices import Decoding
from swav_ray.data.decoding.decode import SourceImage, UnreadableImage, decode
from swav_ray.data.manifest import build
from swav_ray.data.sources import read_samples
from swav_ray.data.tools.shrink import shrunk
from tests.data.decoding.test_png import chunk, with_chunk
from tests.data.images import write_files

PEAK = 4095
FORMS = [".png", ".tif", ".ppm", ".jp2"]
ORIENTATION = b"\x12\1\3\0\1\0\0\0"  # the tag, one short


def colors(peak: int = PEAK, bands: int = 3) -> np.ndarray:
    """(48, 64, bands) uint16 without symmetry, each band another, of all levels up to the peak."""
    y, x = np.mgrid[0:48, 0:64]
    channels = [(x / 63), (y / 47), ((x + y) / 110), np.where(x > 20, 1.0, 0.0)][:bands]
    return np.rint(np.stack(channels, axis=2) * peak).astype(np.uint16)


def encoded(samples: np.ndarray, form: str, *more: int) -> bytes:
    order = [2, 1, 0, 3][: samples.shape[2]]
    options = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000] if form == ".jp2" else []
    return cv2.imencode(form, np.ascontiguousarray(samples[..., order]), [*options, *more])[1].tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_the_range_of_the_data_set_becomes_all_of_8_bits(form: str) -> None:
    shown = decode(encoded(colors(), form), Decoding(value_range=(0, PEAK)))
    assert np.abs(shown.astype(float) - colors() * (255 / PEAK)).max() <= 0.51


@pytest.mark.parametrize("form", FORMS)
def test_without_a_range_they_are_as_pil_has_them(form: str) -> None:
    data = encoded(colors(65535), form)
    assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("form", FORMS)
def test_index_measures_the_range_and_says_it(form: str, tmp_path: Path) -> None:
    found = build(str(write_files(tmp_path, {f"a{form}": encoded(colors(), form)})))
    assert found.decoding.value_range == (0, PEAK)
    assert found.looks is not None
    (line,) = found.looks.notes(found.decoding)
    assert "1 of 1 images looked at have more than 8 bits, with values from 0 to 4095" in line
    (data,) = read_samples(found, np.arange(1))
    assert isinstance(data, bytes)
    assert decode(data, found.decoding).max() == 255


def test_images_of_8_bits_are_not_wide_and_have_no_range() -> None:
    for form in FORMS:
        data = cv2.imencode(form, colors(255).astype(np.uint8))[1].tobytes()
        assert SourceImage(data).deep_samples() is None
        assert np.array_equal(decode(data, Decoding(value_range=(0, 9))), decode(data))


@pytest.mark.parametrize(("alpha", "left"), [("drop", [0, 0, 0]), ("white", [255, 255, 255]), ("grey", [128] * 3)])
def test_transparent_pixels_become_what_the_data_set_says(alpha: str, left: list[int]) -> None:
    samples = colors(bands=4)
    samples[..., 3] = np.where(samples[..., 3] > 0, 65535, 0)
    samples[:, :10, :3] = 0
    source = SourceImage(encoded(samples, ".png"), Decoding(value_range=(0, PEAK), alpha=alpha))
    assert source.is_transparent()
    assert source.pixels()[0, 0].tolist() == left
    assert source.pixels()[0, 63].tolist() == [255, 0, round(63 / 110 * 255)]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", [".tif", ".png"])
def test_it_comes_upright_by_its_range_as_pil_turns_it(orientation: int, form: str) -> None:
    data = encoded(colors(65535), form)
    value = orientation.to_bytes(4, "little")
    turned = with_orientation(data, value) if form == ".tif" else with_exif(data, value)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(turned))))
    exact = decode(turned, Decoding(value_range=(0, 65535)))
    assert np.abs(exact.astype(int) - upright).max() <= 1  # PIL has the upper byte, which is not rounded
    assert exact.shape[:2] == ((64, 48) if orientation >= 5 else (48, 64))


def with_exif(data: bytes, orientation: bytes) -> bytes:
    """A PNG with its orientation in an eXIf chunk."""
    directory = b"\1\0" + ORIENTATION + orientation + bytes(4)
    return with_chunk(data, chunk(b"eXIf", b"II*\0\x08\0\0\0" + directory))


def with_orientation(data: bytes, orientation: bytes) -> bytes:
    """A little-endian TIFF with its orientation in the directory, which is written anew at the end."""
    at = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[at : at + 2], "little")
    entries = [data[at + 2 + 12 * i : at + 14 + 12 * i] for i in range(count)]
    directory = b"".join(
        sorted([*entries, ORIENTATION + orientation], key=lambda item: int.from_bytes(item[:2], "little"))
    )
    whole = data + b"\0" * (len(data) % 2)
    start = len(whole).to_bytes(4, "little")
    return whole[:4] + start + whole[8:] + (count + 1).to_bytes(2, "little") + directory + bytes(4)


def test_a_damaged_one_is_refused_as_pil_refuses_it() -> None:
    data = bytearray(encoded(colors(), ".png"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(UnreadableImage):
        decode(bytes(data), Decoding(value_range=(0, PEAK)))


def test_a_tag_that_opencv_warns_of_reaches_no_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    data = encoded(colors(), ".tif")
    at = data.rindex((317).to_bytes(2, "little") + (3).to_bytes(2, "little"))  # the predictor
    odd = data[: at + 4] + (7).to_bytes(4, "little") + data[at + 8 :]
    assert decode(odd, Decoding(value_range=(0, PEAK))).shape == (48, 64, 3)
    assert capfd.readouterr().err == ""


def test_import_leaves_large_ones_as_they_are() -> None:
    data = encoded(colors(), ".png")
    assert shrunk(data, 32) == data
