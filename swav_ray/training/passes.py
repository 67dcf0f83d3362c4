"""How a worker's rows of a global batch are cut into passes that fit in memory. Plain numbers in, plain numbers out."""

from __future__ import annotations

from dataclasses import dataclass

from swav_ray.data.sample_plan import even_slice


@dataclass(frozen=True)
class Passes:
    """The passes of one worker, by rows of the global batch.

    Attributes:
        own: all rows of this worker.
        rows: the same rows, one range a pass; every worker has as many passes.
        communicate: whether a BatchNorm part lies on two workers, so that its statistics cost a collective.
    """

    own: range
    rows: tuple[range, ...]
    communicate: bool

    @property
    def count(self) -> int:
        return len(self.rows)


def passes(batch: int, *, world_size: int, rank: int, most: int, parts: int) -> Passes:
    """Cuts the rows of one worker into passes, as many on every worker.

    Sixteen images, two workers, BatchNorm in eight parts of two images, at most three images a pass. Worker 1 has the
    rows 8 to 15. They begin with a part, so no part lies on two workers. A pass ends with a part, and three images hold
    only one, so there are four passes:

    >>> passes(16, world_size=2, rank=1, most=3, parts=8)
    Passes(own=range(8, 16), rows=(range(8, 10), range(10, 12), range(12, 14), range(14, 16)), communicate=False)

    Three workers have 5, 5 and 6 of them, and parts lie on two workers. The six need two passes of three, so all
    workers take two:

    >>> passes(16, world_size=3, rank=0, most=3, parts=8)
    Passes(own=range(0, 5), rows=(range(0, 2), range(2, 5)), communicate=True)

    Args:
        batch: images of the global batch.
        world_size, rank: the workers, and which of them this is.
        most: images of a pass; 0: all at once. 1 may become 2 if slices are uneven, since no pass may be empty.
        parts: BatchNorm's equal parts of the global batch.
    """
    part = batch // parts
    slices = [even_slice(batch, world_size, index) for index in range(world_size)]
    aligned = parts > 1 and all(one.start % part == 0 for one in slices)
    largest = -(-batch // world_size)
    unit = count = 1  # passes are whole units, so that they end with a part if possible
    if 0 < most < largest:
        unit = part if aligned and part <= most else 1
        count = min(-(-largest // (most // unit * unit)), batch // world_size // unit)
    own = range(slices[rank].start, slices[rank].stop)
    cuts = [even_slice(len(own) // unit, count, index) for index in range(count)]
    rows = tuple(range(own.start + cut.start * unit, own.start + cut.stop * unit) for cut in cuts)
    return Passes(own, rows, communicate=world_size > 1 and not aligned)
