"""Parts made one after another: the next one is read while the network runs on this one. Knows nothing of Ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch

from swav_ray.features.ahead import one_ahead


class Work(Protocol):
    """What is made of images, in parts. Sent to every process, so what is large in it should be read there.

    OSError is storage's.
    """

    @property
    def mistake(self) -> type[ValueError]:
        """What is raised for what the user can put right."""

    def images(self, part: int) -> int:
        """Number of images of a part."""

    def is_made(self, part: int) -> bool:
        """Whether a part is there, and need not be tried again."""

    def read(self, part: int, threads: int) -> Any:
        """What the network needs, read on a CPU."""

    def write(self, read: Any, device: torch.device) -> None:
        """Runs the network and writes the part."""


def make_parts(work: Work, parts: Sequence[int], device: torch.device) -> Iterator[int]:
    """Makes parts and yields the number of images of each, once it is written. Raises as the work does."""
    # One thread decodes: the network wants the same CPU.
    for part, read in zip(parts, one_ahead(lambda part: read_missing(work, part, 1), parts), strict=True):
        if read is not None:
            work.write(read, device)
        yield work.images(part)


def read_missing(work: Work, part: int, threads: int) -> Any:
    """What the network needs of a part; None if it is made: a process that was lost made it and could not say so."""
    return None if work.is_made(part) else work.read(part, threads)


def grouped(parts: Sequence[int], most: int, processes: int) -> list[list[int]]:
    """Parts in groups of at most `most`, smaller towards the end, so that all processes end at nearly the same time.

    Each group is at most half of what is left for each process.
    """
    groups, start = [], 0
    while start < len(parts):
        size = max(1, min(most, (len(parts) - start) // (2 * processes)))
        groups.append(list(parts[start : start + size]))
        start += size
    return groups
