"""Tiles held in registers transpose as a plain transpose does, and touch nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from swav_ray.data.crops.kernels import reference
from swav_ray.data.crops.kernels.transpose import LINE, TILE, fetch, transpose
from tests.data.crops.kernels.pictures import FEW, SEEDS

TILES = st.integers(1, 7)  # odd and even, less and more than a cache line


@FEW
@given(rows=TILES, columns=TILES, pads=st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), seed=SEEDS)
def test_any_number_of_tiles_is_transposed_and_nothing_else_is_written(
    rows: int, columns: int, pads: tuple[int, int, int], seed: int
) -> None:
    """`pads`: bytes before the matrices and behind each line of either, which belong to somebody else."""
    before, src_pad, dst_pad = pads
    rows, columns = rows * TILE, columns * TILE
    source = np.random.default_rng(seed).integers(0, 256, before + rows * (columns + src_pad)).astype(np.uint8)
    target = np.full(before + columns * (rows + dst_pad), 77, np.uint8)
    transpose(source, before, columns + src_pad, rows, columns, target, before, rows + dst_pad)
    matrix = source[before:].reshape(rows, -1)[:, :columns]
    written = target[before:].reshape(columns, -1)
    assert np.array_equal(written[:, :rows], reference.transpose(matrix))
    assert (written[:, rows:] == 77).all()
    assert (target[:before] == 77).all()


def test_fetching_changes_no_memory() -> None:
    @njit
    def fetched(memory: np.ndarray, at: int, length: int) -> None:
        fetch(memory, at, length)  # type: ignore[call-arg]

    memory = np.arange(3 * LINE, dtype=np.uint8)
    for at, length in ((0, 3 * LINE), (5, 1), (LINE, LINE + 1), (7, 0)):
        fetched(memory, at, length)
    assert np.array_equal(memory, np.arange(3 * LINE, dtype=np.uint8))
