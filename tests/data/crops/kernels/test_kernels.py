"""Every operation of the augmentation equals PIL's and torchvision's at equal parameters, on a real photo."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torchvision.transforms.functional as tv
from numba import njit
from PIL import Image
from sklearn.datasets import load_sample_images

from swav_ray.data.crops.color_vector import BRIGHTNESS, CONTRAST, HUE, SATURATION
from swav_ray.data.crops.kernels.blur import blur
from swav_ray.data.crops.kernels.color import jitter
from swav_ray.data.crops.kernels.resize import resize_crop, write_crop
from swav_ray.data.crops.kernels.weighted_rows import (
    CHUNK,
    PARTS,
    SMALL,
    native,
    quantize,
    weighted_lanes,
    weighted_rows,
)
from tests.data.crops.pil_multi_crop import color_vector, pil_color, pil_cut

PHOTO = Image.fromarray(load_sample_images().images[1]).resize((500, 375))
PIXELS = np.array(PHOTO)


def difference(a: object, b: object) -> float:
    return float(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).mean())


def cut(pixels: np.ndarray, box: tuple[int, int, int, int, int], size: int) -> np.ndarray:
    top, left, height, width, flip = box
    out = np.empty((size, size, 3), np.uint8)
    planes = resize_crop(pixels, (float(top), float(left), float(height), float(width)), bool(flip), size, out)
    return picture(planes, size)


def picture(planes: np.ndarray, size: int) -> np.ndarray:
    out = np.empty((size, size, 3), np.uint8)
    write_crop(planes, size, out)
    return out


def planes_of(image: np.ndarray) -> np.ndarray:
    size = len(image)
    return resize_crop(image, (0.0, 0.0, float(size), float(size)), False, size, np.empty_like(image))


@pytest.mark.parametrize("size", [8, 16, 30, 32, 96, 98, 224])
@pytest.mark.parametrize("box", [(10, 20, 300, 320, 0), (5, 7, 60, 45, 1), (0, 0, 375, 500, 1), (100, 200, 3, 2, 0)])
def test_crop_and_resize_is_pils_antialiased_bilinear(size: int, box: tuple[int, int, int, int, int]) -> None:
    assert difference(cut(PIXELS, box, size), pil_cut(PHOTO, np.array(box), size)) < 0.3


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 200), (28, 28), (5000, 40), (2, 1)])
def test_images_of_any_shape_are_resized_whole(width: int, height: int) -> None:
    image = PHOTO.resize((width, height))
    ours = cut(np.array(image), (0, 0, height, width, 0), 32)
    assert difference(ours, pil_cut(image, np.array((0, 0, height, width, 0)), 32)) < 0.3


def test_a_resize_to_its_own_size_changes_nothing() -> None:
    square = np.ascontiguousarray(PIXELS[:50, :50])
    assert np.array_equal(picture(planes_of(square), 50), square)


@pytest.mark.parametrize("size", [33, 96])
@pytest.mark.parametrize("strength", [0.2, 0.9, 1.0, 1.8])
@pytest.mark.parametrize(
    ("name", "operation", "reference"),
    [
        ("brightness", BRIGHTNESS, tv.adjust_brightness),
        ("contrast", CONTRAST, tv.adjust_contrast),
        ("saturation", SATURATION, tv.adjust_saturation),
    ],
)
def test_each_blend_is_torchvisions_on_pil_images(name, operation, reference, strength, size) -> None:  # type: ignore[no-untyped-def]
    image = PHOTO.resize((size, size))
    planes = planes_of(np.array(image))
    jitter(planes, size, color_vector((operation,), **{name: strength}))
    assert difference(picture(planes, size), reference(image, float(np.float32(strength)))) < 0.01


@pytest.mark.parametrize("turn", [-0.2, -0.07, 0.0, 0.1, 0.2])
def test_hue_is_torchvisions_on_pil_images(turn: float) -> None:
    image = PHOTO.resize((96, 96))
    planes = planes_of(np.array(image))
    jitter(planes, 96, color_vector((HUE,), hue=int(turn * 255) & 255))
    assert difference(picture(planes, 96), tv.adjust_hue(image, turn)) < 0.05


def test_hue_is_right_for_every_kind_of_color() -> None:
    levels = np.array((0, 1, 60, 127, 128, 254, 255), np.uint8)
    colors = np.array(list(itertools.product(levels, repeat=3)), np.uint8)
    image = np.resize(colors, (19, 19, 3))
    for shift in (0, 1, 30, 128, 200, 255):
        color = color_vector((HUE,), hue=shift)
        planes = planes_of(image)
        jitter(planes, 19, color)
        assert difference(picture(planes, 19), pil_color(Image.fromarray(image), color)) < 0.5


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
@pytest.mark.parametrize("grey", [0, 1])
def test_the_jitter_in_every_order_is_pils(order: tuple[int, ...], grey: int) -> None:
    image = PHOTO.resize((64, 64))
    color = color_vector(order, brightness=1.6, contrast=0.5, saturation=1.7, hue=40, grey=grey)
    planes = planes_of(np.array(image))
    jitter(planes, 64, color)
    assert difference(picture(planes, 64), pil_color(image, color)) < 0.1


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5, 0.8, 1.0, 1.4, 1.7, 2.0, 3.5])
@pytest.mark.parametrize("size", [30, 96])
def test_blur_is_pils(sigma: float, size: int) -> None:
    image = PHOTO.resize((size, size))
    blurred = picture(blur(planes_of(np.array(image)), size, sigma), size)
    assert difference(blurred, pil_color(image, color_vector(sigma=sigma))) < 1


@pytest.mark.parametrize("sigma", [0.1, 1.0, 2.0])
def test_blur_of_the_smallest_crop_is_nearly_pils(sigma: float) -> None:
    """PIL repeats the border anew for each of its three passes, which shows where a crop is all border."""
    image = PHOTO.resize((8, 8))
    blurred = picture(blur(planes_of(np.array(image)), 8, sigma), 8)
    assert difference(blurred, pil_color(image, color_vector(sigma=sigma))) < 2


def test_weighted_rows_are_the_same_at_every_length() -> None:
    """Long rows take wide registers, short ones narrow ones or none: all must agree to the bit."""
    generator = np.random.default_rng(0)
    source = generator.integers(0, 256, 2000).astype(np.uint8)
    weights = np.array((255, 39, 58, 31, 0), np.uint8)
    whole = np.empty(300, np.uint8)
    weighted_rows(source, 5, 400, weights, 1, 3, whole, 0, 300)
    rows = np.stack([source[5 + 400 * k : 305 + 400 * k] for k in range(3)]).astype(int)
    assert np.array_equal(whole, (weights[1:4].astype(int) @ rows + PARTS // 2) // PARTS)
    for length in (1, 7, 15, 16, 17, 31, 33, 63, 64, 65, 95, 96, 127, 299):
        part = np.zeros(320, np.uint8)
        weighted_rows(source, 5, 400, weights, 1, 3, part, 4, length)
        assert np.array_equal(part[4 : 4 + length], whole[:length])
        assert not part[:4].any()
        assert not part[4 + length :].any()


@pytest.mark.parametrize("parts", [(127, 1), (1, 127), (64, 64), (0, 127, 1, 0, 0), (26, 25, 26, 25, 26)])
@pytest.mark.parametrize("size", [SMALL, CHUNK])
def test_every_processor_computes_the_same_weighted_sums(size: int, parts: tuple[int, ...]) -> None:
    """The instruction of this one, and what the others do instead, at the extremes of levels and of weights."""
    lanes, generic = weighted_lanes(size, 1, native(size)), weighted_lanes(size, 1, False)

    @njit
    def sums(src: np.ndarray, weights: np.ndarray, count: int, a: np.ndarray, b: np.ndarray) -> None:
        lanes(src, 0, size, weights, 0, count, a, 0)
        generic(src, 0, size, weights, 0, count, b, 0)

    count = len(parts)
    weights = np.array((*parts, 0), np.uint8)
    random = np.random.default_rng(0).integers(0, 256, (count, size))
    even, odd = (np.where(np.arange(count)[:, None] % 2 == rest, 255, np.zeros((1, size), int)) for rest in (0, 1))
    for rows in (random, even, odd, np.full((count, size), 255), np.full((count, size), 1)):
        ours, theirs = np.empty(size, np.uint8), np.empty(size, np.uint8)
        sums(rows.astype(np.uint8).reshape(-1), weights, count, ours, theirs)
        assert np.array_equal(ours, (np.array(parts) @ rows + PARTS // 2) // PARTS)
        assert np.array_equal(ours, theirs)


def test_a_whole_weight_is_two_halves_of_one_row() -> None:
    source = np.arange(40, dtype=np.uint8) * 6
    out = np.empty(40, np.uint8)
    weighted_rows(source, 0, 40, np.array((PARTS // 2, PARTS // 2), np.uint8), 0, 1, out, 0, 40)
    assert np.array_equal(out, source)


@pytest.mark.parametrize("weights", [(1.0,), (0.0, 2.5), (1.0, 2.0, 1.0), (1e-9, 1.0, 1e-9), (0.2,) * 5])
def test_quantized_weights_are_a_whole_and_close(weights: tuple[float, ...]) -> None:
    out = np.full(len(weights) + 2, 99, np.uint8)
    first, count = quantize(np.cumsum(weights), 0, 1, len(weights), out, 1)
    pairs = -(-count // 2) * 2
    assert out[1 : 1 + pairs].astype(int).sum() == PARTS
    assert out[1 : 1 + pairs].max() < PARTS
    exact = np.array(weights) / sum(weights) * PARTS
    found = np.zeros(len(weights))
    found[first : first + count] = out[1 : 1 + count] if count > 1 else PARTS
    assert np.abs(found - exact).max() <= 1
