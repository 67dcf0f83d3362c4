"""Makes batches: sample ids to bytes to crops, in one place and one pass.

An unreadable image is replaced by the one that the plan names for it, so a batch is always whole.
What a batch is, is in batch.py, which imports no decoder and no compiled kernels.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from swav_ray.config import DataConfig
from swav_ray.data.bad_images import BadImage, TooManyBadImages
from swav_ray.data.batch import Batch, crop_views
from swav_ray.data.crop_blocks import READ_TOGETHER
from swav_ray.data.crops.multi_crop import Decoded, MultiCrop
from swav_ray.data.decoding.decode import UnreadableImage
from swav_ray.data.manifest import Manifest
from swav_ray.data.memory import ReusedMemory
from swav_ray.data.sample_plan import DRAWS, SamplePlan
from swav_ray.data.sources import Sample, name_of, read_samples
from swav_ray.storage import place as storage
from swav_ray.storage.changed import ChangedBytes
from swav_ray.storage.node_cache import NodeCache

Job = TypeVar("Job")
Answer = TypeVar("Answer")

_SMALL_BUDGET = 0.1  # of unreadable images: DRAWS of them in a row then have a chance of 1e-16


def _each(run: Callable[[Job], Answer], jobs: Iterable[Job], threads: int) -> list[Answer]:
    """The answers in order; the first failure ends the rest."""
    if threads == 1:
        return [run(job) for job in jobs]
    with ThreadPoolExecutor(threads, "crop") as pool:
        try:
            return list(pool.map(run, jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class SampleReader:
    """The samples of one batch after the other, prefetched (see `read_samples`), READ_TOGETHER at a time."""

    def __init__(self, manifest: Manifest, sample_ids: np.ndarray, cache: NodeCache | None = None) -> None:
        spans = [sample_ids[start : start + READ_TOGETHER] for start in range(0, len(sample_ids), READ_TOGETHER)]
        self._samples = itertools.chain.from_iterable(read_samples(manifest, ids, cache) for ids in spans)
        self._before = storage.stats()
        self.changed = 0  # of those taken, how many were written after the list of images was made

    def take(self, rows: int) -> Iterator[Sample]:
        """The next ones; raises RuntimeError if there are fewer."""
        for _ in range(rows):
            sample = next(self._samples)
            self.changed += isinstance(sample, ChangedBytes)
            yield sample

    def cost(self) -> tuple[int, int]:
        """Bytes read and requests retried by this process since the last call, whatever they were for."""
        before, self._before = self._before, storage.stats()
        return self._before["bytes_read"] - before["bytes_read"], self._before["retries"] - before["retries"]


@dataclass(frozen=True, eq=False)
class BatchMaker:
    """Makes any batch of a run from its place in the plan: all that a task on another machine needs.

    `manifest` is the whole data set's; `plan.ids` are its training samples, of which `max_bad_fraction` may be bad.
    `threads` crop at a time; what they make does not depend on their number. What is read from S3 is kept in `cache`.
    """

    manifest: Manifest
    plan: SamplePlan
    multi_crop: MultiCrop
    max_bad_fraction: float = DataConfig().max_bad_fraction
    threads: int = 1
    cache: NodeCache | None = None

    def reader(self, sample_ids: np.ndarray) -> SampleReader:
        """Reads these samples (rows,), of one batch or of several."""
        return SampleReader(self.manifest, sample_ids, self.cache)

    def make(
        self,
        step: int,
        sample_ids: np.ndarray,
        memory: ReusedMemory | None = None,
        samples: SampleReader | None = None,
    ) -> Batch:
        """The crops of `sample_ids` (rows,) in their order; raises TooManyBadImages, StorageUnavailable.

        With `memory`, the pixels are taken from it. `samples` must read these ids next. It may hold those of later
        batches too, which are then read while these are cropped. After an error it cannot be used again.
        """
        started = time.perf_counter()
        epoch, rows = step // self.plan.steps_per_epoch, len(sample_ids)
        crops = self.multi_crop.crops
        size = 3 * rows * crops.pixels
        pixels = memory.take(size) if memory else np.empty(size, np.uint8)
        views = crop_views(pixels, crops, rows)
        parameters = self.multi_crop.color_params
        color = None if parameters is None else np.empty((crops.total, rows, parameters), np.float32)

        def fill(sample: tuple[int, Sample]) -> tuple[list[BadImage], Decoded]:
            row, data = sample
            return self._fill(data, epoch, int(sample_ids[row]), views, row, color)

        samples = samples or self.reader(sample_ids)
        changed = samples.changed
        filled = _each(fill, enumerate(samples.take(rows)), self.threads)
        bytes_read, retries = samples.cost()
        return Batch(
            step=step,
            sample_ids=np.asarray(sample_ids, np.int64),
            pixels=pixels,
            color=np.empty(0, np.float32) if color is None else color.reshape(-1),
            bad=[bad for found, _ in filled for bad in found],
            seconds=time.perf_counter() - started,
            bytes_read=bytes_read,
            retries=retries,
            decode_seconds=sum(decoded.seconds for _, decoded in filled) / self.threads,
            source_pixels=sum(decoded.pixels for _, decoded in filled),
            changed=samples.changed - changed,
        )

    def _fill(
        self,
        data: Sample,
        epoch: int,
        sample_id: int,
        views: list[np.ndarray],
        row: int,
        color: np.ndarray | None,
    ) -> tuple[list[BadImage], Decoded]:
        """Crops one sample, or the first of its replacements that can be read; what is unreadable, and its decoding."""
        bad: list[BadImage] = []
        current = sample_id
        # After the random draws come all images in turn, none twice: if that many are unreadable, the budget is spent.
        # With a small budget the draws alone prove it, and a walk through a million images would only delay the error.
        walk = int(self.max_bad_fraction * len(self.plan.ids)) if self.max_bad_fraction > _SMALL_BUDGET else 0
        for attempt in range(1 + DRAWS + walk):
            try:
                if isinstance(data, Exception):
                    raise UnreadableImage("missing", str(data))
                return bad, self.multi_crop(data, epoch, current, views, row, color, self.manifest.decoding)
            except UnreadableImage as error:
                stand_in = self.plan.replacement(epoch, sample_id, attempt)
                bad.append(BadImage(current, name_of(self.manifest, current), error.kind, str(error), stand_in))
                current = stand_in
                data = next(read_samples(self.manifest, np.array([current]), self.cache))
        raise TooManyBadImages(
            f"{len(bad)} images in a row cannot be read, the last {bad[-1].uri}: {bad[-1].reason}; "
            "see python -m swav_ray.data check"
        )
