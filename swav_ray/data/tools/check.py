"""Decodes every image of a place, in parallel, and reports which cannot be read and why."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np

from swav_ray.data.bad_images import BadImage
from swav_ray.data.crops.decode import UnreadableImage, decode
from swav_ray.data.crops.decoding import Decoding
from swav_ray.data.manifest import Manifest
from swav_ray.data.sources import Sample, read_samples

_BLOCK = 128  # samples a task


@dataclass(frozen=True)
class CheckResult:
    """What `check` found: the number of ``images``, and the bad ones in the order of their ids."""

    images: int
    bad: tuple[BadImage, ...]

    def by_kind(self) -> dict[str, list[BadImage]]:
        """The bad images by kind, the most frequent first."""
        kinds: dict[str, list[BadImage]] = {}
        for image in self.bad:
            kinds.setdefault(image.kind, []).append(image)
        return dict(sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0])))

    def text(self, examples: int = 5) -> str:
        """Lines for people: the counts, then some of each kind."""
        lines = [f"{self.images:,} images, {len(self.bad):,} unreadable"]
        for kind, images in self.by_kind().items():
            lines.append(f"{kind}: {len(images):,}")
            lines += [f"  {image.uri}: {image.reason}" for image in images[:examples]]
            if len(images) > examples:
                lines.append(f"  and {len(images) - examples:,} more")
        return "\n".join(lines)


def check(
    manifest: Manifest, *, workers: int | None = None, progress: Callable[[int, int], None] | None = None
) -> CheckResult:
    """Reads and decodes every image with ``workers`` processes (default: one a core); ``progress(done, in all)``.

    Raises StorageUnavailable, or MemoryError if the system killed a worker.
    """
    count, done = len(manifest), 0
    workers = workers or len(os.sched_getaffinity(0))
    bad: list[BadImage] = []
    blocks = iter(np.split(np.arange(count), np.arange(_BLOCK, count, _BLOCK)))
    # Spawned, not forked: this process may hold threads and an S3 client.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        try:
            for ids, found in _in_flight(pool, manifest, blocks, 2 * workers):
                bad.extend(found)
                done += len(ids)
                if progress is not None:
                    progress(done, count)
        except BrokenProcessPool:
            raise MemoryError("a worker was killed, most likely for its memory; use fewer --workers") from None
    return CheckResult(count, tuple(sorted(bad, key=lambda image: image.sample_id)))


def _in_flight(
    pool: ProcessPoolExecutor, manifest: Manifest, blocks: Iterator[np.ndarray], most: int
) -> Iterator[tuple[np.ndarray, list[BadImage]]]:
    """Blocks as they are finished, with only so many submitted at a time that little of the manifest is pickled."""
    running: dict[Future[list[BadImage]], np.ndarray] = {}
    while True:
        for _, ids in zip(range(most - len(running)), blocks, strict=False):
            running[pool.submit(_check_block, manifest.take(ids), ids)] = ids
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future.result()


def _check_block(block: Manifest, sample_ids: np.ndarray) -> list[BadImage]:
    bad = []
    for i, (sample_id, sample) in enumerate(zip(sample_ids, read_samples(block, np.arange(len(block))), strict=True)):
        fault = _fault(sample, block.decoding)
        if fault is not None:
            bad.append(BadImage(int(sample_id), block.uri_of(i), *fault))
    return bad


def _fault(sample: Sample, decoding: Decoding) -> tuple[str, str] | None:
    """Kind and reason, or None if the image can be read."""
    if isinstance(sample, FileNotFoundError):
        return "missing", str(sample)
    if isinstance(sample, Exception):
        return "not_read", str(sample)
    try:
        decode(sample, decoding)
    except UnreadableImage as error:
        return error.kind, str(error)
    return None
