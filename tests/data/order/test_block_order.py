"""An order by blocks: every position once, whole blocks within a window, nothing held but a key."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from swav_ray.data.order.block_order import BlockOrder

sizes = {"size": st.integers(1, 400), "block": st.integers(1, 40), "window": st.integers(1, 12)}


@given(**sizes, epoch=st.integers(0, 3))
def test_every_position_comes_once(size: int, block: int, window: int, epoch: int) -> None:
    found = BlockOrder(size, block, window, (0, epoch))(np.arange(size))
    assert np.array_equal(np.sort(found), np.arange(size))


@given(**sizes, data=st.data())
def test_any_places_may_be_asked_for_alone(size: int, block: int, window: int, data: st.DataObject) -> None:
    order = BlockOrder(size, block, window, (5,))
    places = np.array(data.draw(st.lists(st.integers(0, size - 1), max_size=9)), np.int64)
    assert np.array_equal(order(places), order(np.arange(size))[places])


@given(**sizes)
def test_a_block_is_read_within_one_window(size: int, block: int, window: int) -> None:
    """No block is met again once as many samples as a window has came after its first."""
    blocks = BlockOrder(size, block, window, (1,))(np.arange(size)) // block
    for number in np.unique(blocks):
        (places,) = np.nonzero(blocks == number)
        assert places[-1] - places[0] < window * block


def test_blocks_and_the_samples_of_a_window_come_in_random_order() -> None:
    size, block, window = 64_000, 16, 8
    found = BlockOrder(size, block, window, (2, 0))(np.arange(size))
    assert abs(np.corrcoef(np.arange(size), found)[0, 1]) < 0.05
    assert (np.diff(found) == 1).mean() < 2 / (block * window)  # neighbours follow each other by chance alone
    other = BlockOrder(size, block, window, (2, 1))(np.arange(size))
    assert (found == other).mean() < 0.001


def test_the_short_block_is_not_always_the_last() -> None:
    ends = [int(np.argmax(BlockOrder(103, 10, 2, (epoch,))(np.arange(103)) >= 100)) for epoch in range(40)]
    assert min(ends) < 30
    assert max(ends) > 70
