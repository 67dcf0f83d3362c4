"""Which samples a step trains on, and which worker gets which: numpy alone, a function of seed and position.

Every epoch is a permutation of the training samples drawn from (seed, epoch). A step takes the next
`global_batch_size` of them; a worker takes a contiguous slice of the step. Nothing depends on time, on the number of
workers or on what failed, so any worker can make any batch again.

Ids that are held in memory are permuted by numpy. Those that are looked up (`selected_ids.py`) are too many for that:
they are permuted by a keyed bijection, of which only the positions of a step are computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swav_ray.config import Config, ConfigError
from swav_ray.data.order.block_order import BlockOrder
from swav_ray.data.order.keyed_permutation import KeyedPermutation
from swav_ray.data.order.selected_ids import Ids

_ORDER = 0x6F72646572  # keeps the permutation's random stream apart from every other use of the seed
_REPLACE = 0x7265706C
_KEYED = 0x6B65796564
_BLOCKS = 0x626C6F636B

DRAWS = 16  # stand-ins drawn at random; a data set that needs more is mostly unreadable, and then all come in turn


@dataclass(frozen=True, eq=False)
class SamplePlan:
    """The order of training.

    Args:
        ids: sample ids to train on, (N,), no id twice.
        seed: of the permutations.
        global_batch_size: samples a step.
        block: neighbouring samples that are read together (block_order.py); 0: the order knows no neighbours.
        window: samples within which blocks are shuffled.
    """

    ids: Ids
    seed: int
    global_batch_size: int
    block: int = 0
    window: int = 0

    @classmethod
    def of(cls, config: Config, ids: Ids) -> SamplePlan:
        """The plan of a run that trains on these ids."""
        data = config.data
        batch = config.train.global_batch_size
        return cls(ids, config.run.seed, batch, data.shuffle_block, data.shuffle_window)

    def __post_init__(self) -> None:
        if len(self.ids) < self.global_batch_size:
            raise ConfigError(
                "train.global_batch_size",
                self.global_batch_size,
                f"is more than the {len(self.ids)} training images; use at most {len(self.ids)}, "
                "or swav_ray.recipes.from_dataset_size for settings that fit a small data set",
            )

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return len(self.ids) // self.global_batch_size

    @property
    def dropped_per_epoch(self) -> int:
        """Samples of an epoch's tail that fill no batch; others every epoch, since the permutation differs."""
        return len(self.ids) % self.global_batch_size

    def batches(self, start: int, stop: int) -> list[np.ndarray]:
        """The global batches of steps start..stop-1 (counted through all epochs), each (global_batch_size,)."""
        return [self.ids[positions] for positions in self.positions(start, stop)]

    def positions(self, start: int, stop: int) -> list[np.ndarray]:
        """The same as positions in `ids`: ids that are looked up are best looked up by whoever reads the samples."""
        rows: list[np.ndarray] = []
        step = start
        while step < stop:
            epoch, first = divmod(step, self.steps_per_epoch)
            last = min(self.steps_per_epoch, first + stop - step)
            places = np.arange(first * self.global_batch_size, last * self.global_batch_size)
            rows.extend(self._order(epoch, places).reshape(last - first, self.global_batch_size))
            step += last - first
        return rows

    def _order(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """The positions in `ids` that come at these places of an epoch."""
        size = len(self.ids)
        if self.block:
            window = max(1, self.window // self.block)
            return BlockOrder(size, self.block, window, (self.seed, _BLOCKS, epoch))(places)
        if isinstance(self.ids, np.ndarray):
            order: np.ndarray = np.random.default_rng([self.seed, _ORDER, epoch]).permutation(size)
            return order[places]
        return KeyedPermutation(size, (self.seed, _KEYED, epoch))(places)

    def replacement(self, epoch: int, sample_id: int, attempt: int) -> int:
        """The sample that stands in for an unreadable one: the same on every worker and after every restart.

        Drawn at random; from attempt DRAWS on, those that follow the last one drawn, so that none is left out.
        """
        last = min(attempt, DRAWS - 1)
        rng = np.random.default_rng([self.seed, _REPLACE, epoch, sample_id, last])
        position = (rng.integers(len(self.ids)) + attempt - last) % len(self.ids)
        return int(self.ids[np.array([position])][0])


def even_slice(rows: int, count: int, index: int) -> slice:
    """Slice `index` of `rows` cut into `count` contiguous slices, in order, whose lengths differ by at most one.

    With the number of workers and a rank: the rows of that worker.
    """
    return slice(rows * index // count, rows * (index + 1) // count)


def digest(sample_ids: np.ndarray) -> str:
    """Sixteen hex digits of a set of ids that do not depend on their order and add over disjoint sets (mod 2**64)."""
    with np.errstate(over="ignore"):
        x = np.asarray(sample_ids).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return f"{int((x ^ (x >> np.uint64(31))).sum(dtype=np.uint64)):016x}"
