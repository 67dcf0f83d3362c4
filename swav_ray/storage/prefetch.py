"""How far reads run ahead of their use."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import TypeVar

CONCURRENT_READS = 32  # at a time in one process: at 30 ms each, more images than a core crops
READ_AHEAD = 2 * CONCURRENT_READS  # answers that nobody has asked for yet, and requests

Other = TypeVar("Other")


def begun_ahead(begin: Callable[[int], Other], count: int) -> Iterator[Other]:
    """What ``begin`` gives for each index, in order, called for the next READ_AHEAD of them."""
    begun = collections.deque(begin(index) for index in range(min(READ_AHEAD, count)))
    for index in range(len(begun), count):
        yield begun.popleft()
        begun.append(begin(index))
    yield from begun
