"""Weighted sums of rows are what their specification says, to the bit, at every length and on every processor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from swav_ray.data.crops.kernels import reference
from swav_ray.data.crops.kernels.weighted_rows import (
    CHUNK,
    PARTS,
    SMALL,
    native,
    quantize,
    weighted_lanes,
    weighted_rows,
)
from tests.data.crops.kernels.pictures import FEW, SEEDS, pixels

WEIGHTS = st.lists(st.floats(0, 5), min_size=1, max_size=40).filter(lambda weights: sum(weights) > 1e-3)


@FEW
@given(weights=WEIGHTS, length=st.integers(1, 200), spare=st.integers(0, 9), seed=SEEDS)
def test_a_weighted_sum_is_its_specification_to_the_bit(
    weights: list[float], length: int, spare: int, seed: int
) -> None:
    """From rows at any distance to any place, by weights as `quantize` leaves them."""
    parts, quantized = np.empty(len(weights) + 1, np.uint8), reference.quantize(np.array(weights))
    first, count = quantize(np.cumsum(weights), 0, 1, len(weights), parts, 0)
    rows = pixels(len(weights), length + spare, seed)[..., 0]
    out = np.full(length + 2 * spare, 77, np.uint8)
    step = length + spare
    weighted_rows(np.ascontiguousarray(rows).reshape(-1), first * step, step, parts, 0, count, out, spare, length)
    assert np.array_equal(out[spare : spare + length], reference.weighted_rows(rows[:, :length], quantized))
    assert (np.delete(out, np.s_[spare : spare + length]) == 77).all()


@FEW
@given(weights=WEIGHTS)
def test_quantized_weights_are_their_specification(weights: list[float]) -> None:
    out = np.full(len(weights) + 1, 99, np.uint8)
    first, count = quantize(np.cumsum(weights), 0, 1, len(weights), out, 0)
    found = np.zeros(len(weights), int)
    found[first : first + count] = out[:count] if count > 1 or out[0] == PARTS else PARTS
    assert np.array_equal(found, reference.quantize(np.array(weights)))


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
