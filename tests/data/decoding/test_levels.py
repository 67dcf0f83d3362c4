"""Samples of any depth become 8 bits by the range of their data set, and transparency what the data set says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from swav_ray.data.decoding.choices import Decoding
from swav_ray.data.decoding.decode import UnreadableImage, decode
from swav_ray.data.decoding.levels import eight_bit, over
from tests.data.decoding.test_decode import encoded, photo
from tests.data.decoding.test_png import chunk, with_chunk

RAMP = np.linspace(0, 1, 96 * 64).reshape(64, 96)


def ramp(low: float, high: float, kind: type) -> Image.Image:
    return Image.fromarray((low + RAMP * (high - low)).astype(kind))


@pytest.mark.parametrize(
    ("low", "high", "kind", "form"),
    [
        (0, 4095, np.uint16, "PNG"),
        (0, 4095, np.uint16, "TIFF"),
        (0, 255, np.uint16, "PNG"),
        (300, 900, np.uint16, "PNG"),
        (-1000, 1000, np.int32, "TIFF"),
        (0, 3000, np.float32, "TIFF"),
        (-1, 1, np.float32, "TIFF"),
    ],
)
def test_the_range_of_the_data_set_becomes_all_of_8_bits(low: float, high: float, kind: type, form: str) -> None:
    pixels = decode(encoded(ramp(low, high, kind), form), Decoding(value_range=(low, high)))
    assert np.abs(pixels[..., 0] - 255 * RAMP).max() <= 1
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_two_images_of_a_data_set_have_one_scale() -> None:
    bright, dim = (encoded(ramp(0, high, np.int32), "TIFF") for high in (256, 255))
    decoding = Decoding(value_range=(0, 256))
    assert decode(bright, decoding).max() == 255
    assert decode(dim, decoding).max() == 254


def test_without_a_range_the_type_has_one() -> None:
    assert eight_bit(np.array([[0, 256, 65535]], np.uint16), None).tolist() == [[0, 1, 255]]
    assert eight_bit(np.array([[-1.0, 0.5, 2.0, np.nan]], np.float32), None).tolist() == [[0, 128, 255, 0]]


def test_values_beyond_the_range_are_clipped() -> None:
    assert eight_bit(np.array([[-5, 0, 60, 100, 70000]], np.int32), (0, 100)).tolist() == [[0, 0, 153, 255, 255]]


def test_a_png_that_declares_its_significant_bits_is_read_by_them() -> None:
    plain = encoded(ramp(0, 4095, np.uint16), "PNG")
    assert decode(plain).max() == 15
    assert decode(with_chunk(plain, chunk(b"sBIT", b"\x0c"))).max() == 255


def test_a_png_scaled_to_16_bits_as_the_standard_has_it_keeps_its_upper_byte() -> None:
    scaled = encoded(ramp(0, 65535, np.uint16), "PNG")
    assert np.array_equal(decode(with_chunk(scaled, chunk(b"sBIT", b"\x0c"))), decode(scaled))


def test_a_tiff_that_declares_its_largest_sample_is_read_by_it() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[281] = 4095
    tags.tagtype[281] = 3
    assert decode(encoded(ramp(0, 4095, np.uint16), "TIFF", tiffinfo=tags)).max() == 255


def test_floats_of_three_bands_are_unsupported_by_name() -> None:
    _, data = cv2.imencode(".tiff", np.zeros((8, 8, 3), np.float32))
    with pytest.raises(UnreadableImage, match="TIFF of 3 bands of 32-bit floats") as caught:
        decode(data.tobytes())
    assert caught.value.kind == "unsupported"


def clip_art(mode: str) -> Image.Image:
    """A red disc on nothing; the colours hidden below are black, as drawing programs leave them."""
    image = Image.new("RGBA", (32, 32))
    y, x = np.mgrid[0:32, 0:32]
    pixels = np.array(image)
    pixels[(x - 16) ** 2 + (y - 16) ** 2 < 100] = (200, 30, 30, 255)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize(("alpha", "corner"), [("drop", 0), ("white", 255), ("grey", 128), ("random", 128)])
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_transparent_pixels_become_what_the_data_set_says(alpha: str, corner: int, form: str) -> None:
    pixels = decode(
        encoded(clip_art("RGBA"), form, **({"lossless": True} if form == "WEBP" else {})), Decoding(alpha=alpha)
    )
    assert pixels[0, 0].tolist() == [corner] * 3
    assert pixels[16, 16].tolist() == [200, 30, 30]


def test_every_kind_of_transparency_counts() -> None:
    white = Decoding(alpha="white")
    assert decode(encoded(clip_art("LA"), "PNG"), white)[0, 0].tolist() == [255] * 3
    palette = photo().quantize(16)
    keyed = encoded(palette, "PNG", transparency=palette.getpixel((0, 0)))
    assert decode(keyed, white)[0, 0].tolist() == [255] * 3
    grey = encoded(Image.new("L", (8, 8), 7), "PNG", transparency=7)
    assert decode(grey, white)[0, 0].tolist() == [255] * 3


def test_half_transparent_pixels_are_mixed() -> None:
    pixel = np.array([[[200, 0, 100, 128]]], np.uint8)
    assert over(pixel, (255, 255, 255))[0, 0].tolist() == [227, 127, 177]
    assert over(np.array([[[9, 8, 7, 255]]], np.uint8), (255, 255, 255))[0, 0].tolist() == [9, 8, 7]
