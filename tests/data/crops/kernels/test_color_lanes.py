"""16-bit lanes compute what their specification says, to the bit; and that is PIL's colour within stated bounds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swav_ray.data.crops.color_vector import BRIGHTNESS, CONTRAST, HUE, SATURATION
from swav_ray.data.crops.kernels import reference
from swav_ray.data.crops.kernels.color_lanes import color_lines
from tests.data.crops.kernels.pictures import FEW, SEEDS, SIDES, pixels

UNIT = reference.UNIT
LEVELS = np.arange(256)
FACTORS = (0, 1, 6553, UNIT // 2, UNIT - 1, UNIT, UNIT + 1, 58982, 2 * UNIT - 1)
OPERATIONS = st.tuples(
    st.sampled_from([BRIGHTNESS, CONTRAST, SATURATION, HUE]), st.sampled_from(FACTORS) | st.integers(0, 2 * UNIT - 1)
)


def lines(picture: np.ndarray, operations: list[tuple[int, int]], mean: int) -> tuple[np.ndarray, int]:
    """The picture after these operations, and the sum of its grey, by the kernel."""
    size, planes = len(picture), reference.planes_of(picture, padding=99)
    codes = np.array([code for code, _ in operations], np.int64)
    factors = np.array([(f, max(UNIT - f, 0), max(f - UNIT, 0)) for _, f in operations], np.uint16).reshape(-1)
    total = color_lines(planes, size, reference.padded(size), codes, factors, 0, len(codes), mean, True)
    return reference.picture_of(planes, size), total


@FEW
@given(size=SIDES, operations=st.lists(OPERATIONS, max_size=5), mean=st.integers(0, 255), seed=SEEDS)
def test_any_operations_on_any_size_are_their_specification_to_the_bit(
    size: int, operations: list[tuple[int, int]], mean: int, seed: int
) -> None:
    operations = [(code, factor & 255 if code == HUE else factor) for code, factor in operations]
    picture = pixels(size, size, seed)
    changed, total = lines(picture, operations, mean)
    wanted = reference.color_lines(picture, operations, mean)
    assert np.array_equal(changed, wanted)
    assert total == reference.luma(wanted).sum()


@pytest.mark.parametrize("shift", [0, 1, 50, 127, 206, 255])
def test_hue_of_every_kind_of_color_is_its_specification_to_the_bit(shift: int) -> None:
    levels = (0, 1, 2, 63, 64, 85, 127, 128, 170, 200, 253, 254, 255)
    colors = np.array(list(itertools.product(levels, repeat=3)), np.uint8)
    picture = np.resize(colors, (47, 47, 3))
    assert np.array_equal(lines(picture, [(HUE, shift)], 0)[0], reference.turn_hue(picture, shift))


@pytest.mark.parametrize("factor", FACTORS)
def test_a_blend_is_exact_unless_it_lies_within_a_fiftieth_of_a_whole_level(factor: int) -> None:
    """Every level with every base. The fraction has 7 bits, and each of at most three terms is cut to it."""
    base, level = np.meshgrid(LEVELS, LEVELS)
    blended = reference.blend(np.stack([level.astype(np.uint8)] * 3, axis=-1), base, factor)[..., 0].astype(int)
    exact = np.clip(base + factor / UNIT * (level - base), 0, 255)
    assert np.abs(blended - np.floor(exact)).max() <= 1
    differs = blended != np.floor(exact)
    assert (np.abs(exact - np.round(exact))[differs] < 1 / 50).all()


def test_grey_is_pils_to_a_level() -> None:
    """PIL adds the products before it cuts their sum; 16-bit lanes cut each."""
    color = pixels(256, 256, 0).astype(np.int64)
    grey = reference.luma(color.astype(np.uint8))
    pil = (color @ np.array([19595, 38470, 7471]) + (1 << 15)) >> 16
    assert np.abs(grey - pil).max() <= 1
    assert (grey != pil).mean() < 0.01
    assert (reference.luma(np.stack([LEVELS.astype(np.uint8)] * 3, axis=-1)) == LEVELS).all()
