"""A worker's examples of the coming steps, made in threads while a step trains (a `fit.task.FitFeed`).

An image that cannot be read is replaced by the one that the plan names for it, so a batch is always whole, and listed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np

from swav_ray.data.bad_images import BadImage, TooManyBadImages
from swav_ray.data.decoding.decode import UnreadableImage
from swav_ray.data.sample_plan import DRAWS, SamplePlan
from swav_ray.evaluate.detect.annotations import Annotated
from swav_ray.evaluate.detect.examples import Augment, Example, training_example

_AHEAD = 3  # batches that are made or waiting
_THREADS = 4


@dataclass(frozen=True, eq=False)
class DetectionBatch:
    """One worker's part of a step (a `fit.task.FitBatch`); an example may be of an image that stands in for another."""

    step: int
    sample_ids: np.ndarray
    examples: list[Example]
    bad: list[BadImage]


class DetectionFeed:
    """The rows `own` of the batches of steps start..end-1.

    Args:
        annotated, augment: what is learned, and how images are varied. plan: the order of its trainable images.
        threads: that read and decode.
    """

    def __init__(
        self,
        annotated: Annotated,
        plan: SamplePlan,
        augment: Augment,
        own: slice,
        start: int,
        end: int,
        threads: int = _THREADS,
    ) -> None:
        self._annotated, self._plan, self._augment, self._own = annotated, plan, augment, own
        self._steps = iter(range(start, end))
        self._pool = ThreadPoolExecutor(threads, "detect")
        self._begun: deque[tuple[int, np.ndarray, list[Future[tuple[Example, list[BadImage]]]]]] = deque()
        for _ in range(_AHEAD):
            self._begin()

    def _begin(self) -> None:
        step = next(self._steps, None)
        if step is None:
            return
        indices = self._plan.batches(step, step + 1)[0][self._own]
        epoch = step // self._plan.steps_per_epoch
        jobs = [self._pool.submit(self._make, int(index), epoch) for index in indices]
        self._begun.append((step, indices, jobs))

    def __iter__(self) -> Iterator[DetectionBatch]:
        return self

    def __next__(self) -> DetectionBatch:
        """The next batch; raises TooManyBadImages, StorageUnavailable."""
        if not self._begun:
            raise StopIteration
        step, indices, jobs = self._begun.popleft()
        made = [job.result() for job in jobs]
        self._begin()
        bad = [entry for _, found in made for entry in found]
        return DetectionBatch(step, indices, [example for example, _ in made], bad)

    def ready(self, seconds: float) -> bool:
        """Whether the next batch comes within so many seconds."""
        if not self._begun:
            return True
        return not wait(self._begun[0][2], timeout=seconds).not_done

    def close(self) -> None:
        """Stops making batches."""
        self._pool.shutdown(cancel_futures=True)

    def _make(self, index: int, epoch: int) -> tuple[Example, list[BadImage]]:
        bad: list[BadImage] = []
        current = index
        for attempt in range(1 + DRAWS):
            try:
                return training_example(self._annotated, current, self._augment, self._plan.seed, epoch), bad
            except UnreadableImage as error:
                stand_in = self._plan.replacement(epoch, index, attempt)
                uri = (self._annotated.root / self._annotated.names[current]).uri
                bad.append(BadImage(current, uri, error.kind, str(error), stand_in))
                current = stand_in
        raise TooManyBadImages(f"{len(bad)} images in a row cannot be read, the last {bad[-1].uri}: {bad[-1].reason}")
