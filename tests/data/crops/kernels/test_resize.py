"""A crop is resized as its specification says, to the bit, and as PIL resizes it, to a third of a level."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from swav_ray.data.crops.kernels import reference
from swav_ray.data.crops.kernels.resize import bilinear_taps, padded, resize_crop, write_crop
from tests.data.crops.kernels.pictures import FEW, PHOTO, SEEDS, SIDES, mean_difference, pixels
from tests.data.crops.pil_multi_crop import pil_cut

FRACTIONS = st.floats(0, 1, width=32)


def resized(image: np.ndarray, box: tuple[float, ...], flip: bool, size: int) -> np.ndarray:
    """What the kernels make of a box of an image: planes, written out as a picture."""
    out = np.empty((size, size, 3), np.uint8)
    top, left, height, width = map(float, box)
    write_crop(resize_crop(image, (top, left, height, width), flip, size, out), size, out)
    return out


def inside(side: int, start: float, end: float) -> tuple[float, float]:
    """Where a box starts and how long it is, in an image of this side: at least one pixel."""
    extent = 1 + end * (side - 1)
    return start * (side - extent), extent


@FEW
@given(height=SIDES, width=SIDES, size=SIDES, flip=st.booleans(), fractions=st.tuples(*[FRACTIONS] * 4), seed=SEEDS)
@example(height=1, width=1, size=1, flip=False, fractions=(0.0, 0.0, 0.0, 0.0), seed=1)
@example(height=1, width=70, size=33, flip=True, fractions=(0.0, 0.5, 0.0, 1.0), seed=1)
@example(height=700, width=3, size=5, flip=True, fractions=(0.0, 1.0, 0.0, 1.0), seed=1)
@example(height=40, width=48, size=48, flip=False, fractions=(0.3, 0.9, 0.7, 0.6), seed=0)
def test_a_resize_is_its_specification_to_the_bit(
    height: int, width: int, size: int, flip: bool, fractions: tuple[float, float, float, float], seed: int
) -> None:
    image = pixels(height, width, seed)
    (top, tall), (left, wide) = inside(height, *fractions[:2]), inside(width, *fractions[2:])
    ours = resized(image, (top, left, tall, wide), flip, size)
    assert np.array_equal(ours, reference.resize_crop(image, (top, left, tall, wide), flip, size))


@FEW
@given(side=st.integers(1, 300), size=SIDES, start=FRACTIONS, end=FRACTIONS)
def test_the_weights_of_every_pixel_are_their_specification(side: int, size: int, start: float, end: float) -> None:
    at, extent = inside(side, start, end)
    first, counts, weights, pitch = bilinear_taps(at, extent, size)
    for i, (wanted_first, wanted) in enumerate(reference.bilinear_parts(at, extent, size)):
        found = np.zeros(len(wanted), int)
        parts = weights[i * pitch : i * pitch + counts[i]] if counts[i] > 1 else reference.PARTS
        found[first[i] - wanted_first :][: counts[i]] = parts
        assert np.array_equal(found, wanted)
        assert math.floor(at) <= first[i]
        assert first[i] + counts[i] <= math.ceil(at + extent)


@FEW
@given(size=SIDES, seed=SEEDS)
def test_planes_written_as_a_picture_are_their_specification(size: int, seed: int) -> None:
    picture, out = pixels(size, size, seed), np.empty((size, size, 3), np.uint8)
    planes = reference.planes_of(picture, padding=77)
    assert len(planes) == padded(3 * size) * padded(size)
    write_crop(planes, size, out)
    assert np.array_equal(out, picture)
    assert np.array_equal(reference.picture_of(planes, size), picture)


@pytest.mark.parametrize("size", [8, 16, 30, 32, 96, 98, 224])
@pytest.mark.parametrize("box", [(10, 20, 300, 320, 0), (5, 7, 60, 45, 1), (0, 0, 375, 500, 1), (100, 200, 3, 2, 0)])
def test_crop_and_resize_is_pils_antialiased_bilinear(size: int, box: tuple[int, int, int, int, int]) -> None:
    ours = resized(np.array(PHOTO), box[:4], bool(box[4]), size)
    assert mean_difference(ours, pil_cut(PHOTO, np.array(box), size)) < 0.3


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 200), (28, 28), (5000, 40), (2, 1)])
def test_images_of_any_shape_are_resized_whole(width: int, height: int) -> None:
    image = PHOTO.resize((width, height))
    ours = resized(np.array(image), (0, 0, height, width), False, 32)
    assert mean_difference(ours, pil_cut(image, np.array((0, 0, height, width, 0)), 32)) < 0.3


def test_a_resize_to_its_own_size_changes_nothing() -> None:
    square = np.ascontiguousarray(np.array(PHOTO)[:50, :50])
    assert np.array_equal(resized(square, (0, 0, 50, 50), False, 50), square)
