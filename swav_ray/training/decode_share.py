"""Whether training waits for the decoding of images that are larger than any crop needs, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from swav_ray.config import CropsConfig
from swav_ray.data.batch import Batch

_LEAST_STEPS = 20  # before anything is said: the first ones wait for the tasks that make crops to start
_WAITING = 0.2  # of a run's time
_DECODING = 0.5  # of the time that crops take
_MULTIPLE = 64  # of which the proposed side is one


class DecodeShare:
    """Adds up what this worker's batches took, and how long steps waited for them.

    Args:
        crops: of the run. images: their place.
    """

    def __init__(self, crops: CropsConfig, images: str) -> None:
        self._side, self._images = side_needed(crops), images
        self._given, self._steps = False, 0
        self._seconds = self._waited = 0.0
        self._made = self._decoded = 0.0
        self._rows = self._pixels = 0

    def watched(self, feed: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches."""
        for batch in feed:
            self._made += batch.seconds
            self._decoded += batch.decode_seconds
            self._rows += len(batch.sample_ids)
            self._pixels += batch.source_pixels
            yield batch

    def advice(self, seconds: float, data_wait: float) -> str:
        """One line, once, if images should be made smaller; else empty. Called after each step.

        Args:
            seconds: that the step took. data_wait: the fraction of them that it waited for its batch.
        """
        self._steps += 1
        self._seconds += seconds
        self._waited += seconds * data_wait
        if self._given or self._steps < _LEAST_STEPS or not (self._seconds and self._made and self._rows):
            return ""
        waiting, decoding = self._waited / self._seconds, self._decoded / self._made
        pixels = self._pixels / self._rows
        if waiting < _WAITING or decoding < _DECODING or pixels <= self._side**2:
            return ""
        self._given = True
        return (
            f"training waits for crops {waiting:.0%} of its time, and {decoding:.0%} of the time that they take is "
            f"decoding images of {pixels / 1e6:.1f} megapixels: `python -m swav_ray.data import {self._images} OUT "
            f"--max-side {self._side}` makes them smaller, once, and leaves twice the pixels a side that crops need"
        )


def side_needed(crops: CropsConfig) -> int:
    """Side, in pixels, of an image whose smallest crops of every size still shrink by two."""
    needed = max(2 * size / math.sqrt(low) for size, low in zip(crops.sizes, crops.min_scales, strict=True))
    return _MULTIPLE * math.ceil(needed / _MULTIPLE)
