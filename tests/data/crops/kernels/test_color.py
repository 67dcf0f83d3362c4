"""A crop's jitter is as its specification says, to the bit, and as torchvision's on PIL images, to a tenth of a level.

The second is not to the bit: torchvision blends in float32, the kernels in 16-bit whole numbers (test_color_lanes.py).
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torchvision.transforms.functional as tv
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from swav_ray.data.crops.color_vector import BRIGHTNESS, CONTRAST, HUE, SATURATION
from swav_ray.data.crops.kernels import reference
from swav_ray.data.crops.kernels.color import is_grey, jitter
from tests.data.crops.kernels.pictures import FEW, PHOTO, SEEDS, SIDES, mean_difference, pixels
from tests.data.crops.pil_multi_crop import color_vector, pil_color

FACTORS = st.floats(0, 2, width=32)
ORDERS = st.integers(0, 4).flatmap(lambda count: st.permutations(range(4)).map(lambda order: tuple(order[:count])))


def jittered(picture: np.ndarray, color: np.ndarray) -> np.ndarray:
    size = len(picture)
    planes = reference.planes_of(picture, padding=99)
    jitter(planes, size, color)
    return reference.picture_of(planes, size)


@FEW
@given(
    size=SIDES,
    order=ORDERS,
    factors=st.tuples(FACTORS, FACTORS, FACTORS),
    hue=st.integers(0, 255),
    grey=st.integers(0, 1),
    seed=SEEDS,
)
@example(size=1, order=(0, 1, 2, 3), factors=(2.0, 2.0, 2.0), hue=255, grey=1, seed=1)
@example(size=33, order=(1,), factors=(1.0, 0.0, 1.0), hue=0, grey=0, seed=2)
@example(size=48, order=(3, 2, 1, 0), factors=(0.0, 2.0, 0.5), hue=128, grey=0, seed=1)
def test_a_jitter_is_its_specification_to_the_bit(
    size: int, order: tuple[int, ...], factors: tuple[float, float, float], hue: int, grey: int, seed: int
) -> None:
    brightness, contrast, saturation = factors
    color = color_vector(order, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue, grey=grey)
    picture = pixels(size, size, seed)
    assert np.array_equal(jittered(picture, color), reference.jitter(picture, color))


@FEW
@given(
    size=SIDES,
    order=ORDERS,
    factors=st.tuples(FACTORS, FACTORS, FACTORS),
    hue=st.integers(0, 255),
    grey=st.integers(0, 1),
    seed=SEEDS,
)
@example(size=96, order=(2, 3, 1, 0), factors=(1.7, 0.4, 1.9), hue=100, grey=1, seed=1)
def test_what_a_grey_crop_goes_without_would_leave_it_as_it_is_to_the_bit(
    size: int, order: tuple[int, ...], factors: tuple[float, float, float], hue: int, grey: int, seed: int
) -> None:
    """The specification runs every operation."""
    brightness, contrast, saturation = factors
    color = color_vector(order, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue, grey=grey)
    picture = np.repeat(pixels(size, size, seed)[..., :1], 3, axis=2)
    assert np.array_equal(jittered(picture, color), reference.jitter(picture, color))


@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.4, 2.0])
def test_no_level_of_grey_is_moved_by_saturation_or_hue(factor: float) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    for shift in (0, 1, 128, 255):
        color = color_vector((SATURATION, HUE), brightness=1.0, contrast=1.0, saturation=factor, hue=shift, grey=1)
        assert np.array_equal(reference.jitter(levels, color), levels)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_one_level_in_the_last_pixel_makes_a_colour(channel: int) -> None:
    size = 33
    picture = np.full((size, size, 3), 90, np.uint8)
    length = reference.padded(size)
    assert is_grey(reference.planes_of(picture, padding=99), size, length)
    picture[-1, -1, channel] = 91
    assert not is_grey(reference.planes_of(picture, padding=99), size, length)


@pytest.mark.parametrize("size", [33, 96])
@pytest.mark.parametrize("strength", [0.2, 0.9, 1.0, 1.8])
@pytest.mark.parametrize(
    ("name", "operation", "theirs"),
    [
        ("brightness", BRIGHTNESS, tv.adjust_brightness),
        ("contrast", CONTRAST, tv.adjust_contrast),
        ("saturation", SATURATION, tv.adjust_saturation),
    ],
)
def test_each_blend_is_torchvisions_on_pil_images(name, operation, theirs, strength, size) -> None:  # type: ignore[no-untyped-def]
    image = PHOTO.resize((size, size))
    ours = jittered(np.array(image), color_vector((operation,), **{name: strength}))
    assert mean_difference(ours, theirs(image, float(np.float32(strength)))) < 0.01


@pytest.mark.parametrize("turn", [-0.2, -0.07, 0.0, 0.1, 0.2])
def test_hue_is_torchvisions_on_pil_images(turn: float) -> None:
    image = PHOTO.resize((96, 96))
    ours = jittered(np.array(image), color_vector((HUE,), hue=int(turn * 255) & 255))
    assert mean_difference(ours, tv.adjust_hue(image, turn)) < 0.05


def test_hue_is_pils_for_every_kind_of_color() -> None:
    levels = np.array((0, 1, 60, 127, 128, 254, 255), np.uint8)
    colors = np.array(list(itertools.product(levels, repeat=3)), np.uint8)
    image = np.resize(colors, (19, 19, 3))
    for shift in (0, 1, 30, 128, 200, 255):
        color = color_vector((HUE,), hue=shift)
        assert mean_difference(jittered(image, color), pil_color(Image.fromarray(image), color)) < 0.5


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
@pytest.mark.parametrize("grey", [0, 1])
def test_the_jitter_in_every_order_is_pils(order: tuple[int, ...], grey: int) -> None:
    image = PHOTO.resize((64, 64))
    color = color_vector(order, brightness=1.6, contrast=0.5, saturation=1.7, hue=40, grey=grey)
    assert mean_difference(jittered(np.array(image), color), pil_color(image, color)) < 0.1
