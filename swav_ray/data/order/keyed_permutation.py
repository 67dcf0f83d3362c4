"""A permutation of any number of positions that is never held: a keyed bijection, evaluated where it is needed.

A Feistel network (Luby and Rackoff, 1988) permutes the smallest power of two that is large enough. A position that it
sends past the end goes through again until it lands inside (cycle walking: Black and Rogaway, 2002, section 3), less
than twice on average. Its round function is the finaliser of SplitMix64 (Steele, Lea and Flood, 2014). Good enough to
shuffle, and no cipher.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_Step = Callable[[np.ndarray], np.ndarray]

_ROUNDS = 10  # even, so that the halves end as they began; domains of a few bits need more than large ones


class KeyedPermutation:
    """The bijection of 0..size-1 that a key names.

    Args:
        size: positions, at least 1 and at most 2**62.
        key: whole numbers >= 0; every key gives another permutation, as far as there are that many.
    """

    def __init__(self, size: int, key: tuple[int, ...]) -> None:
        if not 1 <= size <= 1 << 62:
            raise ValueError(f"a permutation has 1 to 2**62 positions, not {size}")
        self._size = np.uint64(size)
        bits = max(2, (size - 1).bit_length())
        self._low = bits // 2
        self._high = bits - self._low
        self._keys = np.random.SeedSequence(key).generate_state(_ROUNDS, np.uint64)

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Where positions (N,) go, int64, none outside 0..size-1."""
        return self._walk(positions, self._forward)

    def inverse(self, images: np.ndarray) -> np.ndarray:
        """The positions (N,) int64 that go to these."""
        return self._walk(images, self._backward)

    def _walk(self, values: np.ndarray, step: _Step) -> np.ndarray:
        found = step(np.asarray(values).astype(np.uint64))
        outside = np.flatnonzero(found >= self._size)
        while len(outside):
            found[outside] = step(found[outside])
            outside = outside[found[outside] >= self._size]
        return found.astype(np.int64)

    def _forward(self, values: np.ndarray) -> np.ndarray:
        left_bits, right_bits = self._high, self._low
        left, right = values >> np.uint64(right_bits), values & _mask(right_bits)
        for key in self._keys:
            left, right = right, left ^ (_mixed(right, key) & _mask(left_bits))
            left_bits, right_bits = right_bits, left_bits
        return (left << np.uint64(right_bits)) | right

    def _backward(self, values: np.ndarray) -> np.ndarray:
        left_bits, right_bits = self._high, self._low
        left, right = values >> np.uint64(right_bits), values & _mask(right_bits)
        for key in self._keys[::-1]:
            left, right = right ^ (_mixed(left, key) & _mask(right_bits)), left
            left_bits, right_bits = right_bits, left_bits
        return (left << np.uint64(right_bits)) | right


def _mask(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)


def _mixed(values: np.ndarray, key: np.uint64) -> np.ndarray:
    with np.errstate(over="ignore"):
        x = values + key
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(x ^ (x >> np.uint64(31)))
