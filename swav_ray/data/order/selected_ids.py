"""Sample ids that are looked up when they are asked for, since all of them would not fit in memory.

Each has a length and answers `ids[positions]` as an array would: ascending, no id twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from swav_ray.data.indexing.partitions import Partitions
from swav_ray.data.order.keyed_permutation import KeyedPermutation

_HELD_OUT = 0x68656C64  # keeps this random stream apart from every other


class LookedUp(Protocol):
    """Ids that are looked up."""

    def __len__(self) -> int: ...

    def __getitem__(self, positions: np.ndarray, /) -> np.ndarray: ...


Ids = np.ndarray | LookedUp


class SplitIds:
    """The ids of a split in a partitioned list.

    Args:
        partitions: the list.
        split: names.TRAIN or names.TEST. labelled: only those that have a label.
    """

    def __init__(self, partitions: Partitions, split: int, *, labelled: bool = False) -> None:
        self._partitions, self._split, self._labelled = partitions, split, labelled
        counts = partitions.counts(split, labelled=labelled)
        self._ends = np.cumsum(counts, dtype=np.int64)
        self._whole = counts == partitions.sizes()  # files of nothing else

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        wanted = np.asarray(positions, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"positions are 0 to {len(self) - 1}, not {wanted.min()} to {wanted.max()}")
        flat = wanted.reshape(-1)
        numbers = np.searchsorted(self._ends, flat, side="right")
        inside = flat - np.concatenate([[0], self._ends])[numbers]
        found = numbers * self._partitions.file_rows + inside
        mixed = np.unique(numbers[~self._whole[numbers]])
        rows = self._partitions.rows_of(mixed, self._split, labelled=self._labelled)
        for number, own in zip(mixed, rows, strict=True):
            chosen = numbers == number
            found[chosen] = number * self._partitions.file_rows + own[inside[chosen]]
        return found.reshape(wanted.shape)


@dataclass(frozen=True)
class Evenly:
    """`count` of the ids, spread evenly over them."""

    ids: LookedUp
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        return self.ids[np.asarray(positions, np.int64) * len(self.ids) // self.count]


@dataclass(frozen=True)
class HeldOut:
    """One id of every `every` neighbouring ones, drawn at random; the last ones, if they are fewer, hold none."""

    ids: LookedUp
    every: int

    def __len__(self) -> int:
        return len(self.ids) // self.every

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        strata = np.asarray(positions, np.int64)
        return self.ids[strata * self.every + drawn(strata, self.every)]


@dataclass(frozen=True)
class NotHeldOut:
    """The ids that `HeldOut` leaves."""

    ids: LookedUp
    every: int

    def __len__(self) -> int:
        return len(self.ids) - len(self.ids) // self.every

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        flat = np.asarray(positions, np.int64)
        strata, rest = np.divmod(flat, self.every - 1)
        whole = strata < len(self.ids) // self.every
        inside = strata * self.every + rest + (rest >= drawn(strata, self.every))
        return self.ids[np.where(whole, inside, flat + len(self.ids) // self.every)]


def drawn(strata: np.ndarray, every: int) -> np.ndarray:
    """Which one of its `every` ids each stratum holds out, 0..every-1; the same in every run."""
    flat = np.asarray(strata).reshape(-1)
    return (KeyedPermutation(1 << 62, (_HELD_OUT,))(flat) % every).reshape(np.shape(strata))
