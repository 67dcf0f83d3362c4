"""A random order in which neighbours are read together: blocks of neighbouring positions, shuffled within windows.

The blocks come in random order. A window is some blocks that follow each other in that order; within it all positions
come in random order. So whoever reads a window reads whole blocks, and yet no block comes as it lies in storage.
"""

from __future__ import annotations

import numpy as np

from swav_ray.data.order.keyed_permutation import KeyedPermutation


class BlockOrder:
    """The order of an epoch over positions 0..size-1, in memory that does not depend on size.

    Args:
        size: positions, at least 1.
        block: neighbouring positions of a block, at least 1; the last block may have fewer.
        window: blocks of a window, at least 1; the last window may have fewer.
        key: whole numbers >= 0 that name the order.
    """

    def __init__(self, size: int, block: int, window: int, key: tuple[int, ...]) -> None:
        self._size, self._block, self._window, self._key = size, block, window, key
        blocks = -(-size // block)
        self._windows = -(-blocks // window)
        self._blocks = KeyedPermutation(blocks, (*key, 0))
        self._missing = blocks * block - size  # positions that the last block lacks
        self._short = int(self._blocks.inverse(np.array([blocks - 1]))[0])  # its place in the order of blocks

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """The positions (N,) int64 that come at these places of the order."""
        places = np.asarray(places, np.int64)
        found = np.empty_like(places)
        windows = self._window_of(places)
        for window in np.unique(windows):
            chosen = windows == window
            found[chosen] = self._within(int(window), places[chosen])
        return found

    def _start(self, window: int) -> int:
        """The first place of a window; of the one after the last: size."""
        first = window * self._window
        return min(first * self._block - (self._missing if self._short < first else 0), self._size)

    def _window_of(self, places: np.ndarray) -> np.ndarray:
        rows = self._window * self._block
        behind = self._start(self._short // self._window + 1)  # the windows from here on start earlier
        return np.where(places < behind, places, places + self._missing) // rows

    def _within(self, window: int, places: np.ndarray) -> np.ndarray:
        start, end = self._start(window), self._start(window + 1)
        shuffled = KeyedPermutation(end - start, (*self._key, 1, window))(places - start)
        first = window * self._window
        if first <= self._short < first + self._window:
            end_of_short = (self._short - first + 1) * self._block - self._missing
            shuffled = np.where(shuffled < end_of_short, shuffled, shuffled + self._missing)
        return self._blocks(first + shuffled // self._block) * self._block + shuffled % self._block
