"""Decodes every image of a place, in parallel, and reports which cannot be read and why."""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace

import numpy as np

from swav_ray.data.bad_images import BadImage
from swav_ray.data.contents import DIGEST, content_digest, contents_of
from swav_ray.data.decoding.choices import WHITE
from swav_ray.data.decoding.decode import NO_END_MARKER, SourceImage, UnreadableImage
from swav_ray.data.decoding.levels import over
from swav_ray.data.looking import is_constant
from swav_ray.data.manifest import Manifest
from swav_ray.data.sources import name_of, read_samples
from swav_ray.data.tools.duplicates import equal_rows

_BLOCK = 128  # samples a task
_WORST_CLASSES = 10
_COLUMNS = ("sample_id", "uri", "kind", "reason")


@dataclass(frozen=True)
class CheckResult:
    """What `check` found.

    Attributes:
        images: number of them.
        bad: the unreadable ones, in the order of their ids.
        no_end: JPEGs that lack nothing but their end marker, and are read.
        transparent: images that are transparent in part. constant: images of one constant colour.
        shown_over_white: those of them that are not, if they are laid over white.
        duplicates: sets of two or more byte-identical images, each by uri in the order of their ids.
        twins: held-out images (a test split) that have a byte-identical twin among the training images.
        classes: for each class with unreadable images its name, how many they are, and of how many.
        contents: (images,) uint64, what tells byte-identical images (contents.py); 0 for an unreadable one.
    """

    images: int
    bad: tuple[BadImage, ...]
    no_end: int = 0
    transparent: int = 0
    constant: int = 0
    shown_over_white: int = 0
    duplicates: tuple[tuple[str, ...], ...] = ()
    twins: int = 0
    classes: tuple[tuple[str, int, int], ...] = ()
    contents: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64), compare=False, repr=False)

    def by_kind(self) -> dict[str, list[BadImage]]:
        """The bad images by kind, the most frequent first."""
        kinds: dict[str, list[BadImage]] = {}
        for image in self.bad:
            kinds.setdefault(image.kind, []).append(image)
        return dict(sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0])))

    def text(self, examples: int = 5) -> str:
        """Lines for people: the counts, then some of each kind, the worst classes, and what else is remarkable."""
        lines = [f"{self.images:,} images, {len(self.bad):,} unreadable"]
        for kind, images in self.by_kind().items():
            lines.append(f"{kind}: {len(images):,}")
            lines += [f"  {image.uri}: {image.reason}" for image in images[:examples]]
            if len(images) > examples:
                lines.append(f"  and {len(images) - examples:,} more")
        worst = sorted(self.classes, key=lambda found: (-found[1] / found[2], found[0]))[:_WORST_CLASSES]
        if worst:
            named = ", ".join(f"{name} ({bad:,} of {all_of_it:,})" for name, bad, all_of_it in worst)
            lines.append(f"classes with the largest unreadable part: {named}")
        if self.no_end:
            lines.append(f"{self.no_end:,} JPEGs lack their end marker and are read; data.strict refuses them")
        if self.transparent:
            lines.append(f"{self.transparent:,} images are transparent in part; data.alpha says what they become")
        if self.constant:
            shown = f"; over white {self.shown_over_white:,} of them show something (data.alpha white)"
            lines.append(f"{self.constant:,} images are one constant colour{shown if self.shown_over_white else ''}")
        lines += self._about_duplicates(examples)
        return "\n".join(lines)

    def document(self) -> dict[str, object]:
        """The whole report as JSON."""
        kinds = {kind: len(images) for kind, images in self.by_kind().items()}
        bad = [{name: getattr(image, name) for name in _COLUMNS} for image in self.bad]
        counts = {"images": self.images, "unreadable": len(self.bad), "kinds": kinds, "no_end_marker": self.no_end}
        looks = {"transparent": self.transparent, "constant": self.constant, "shown_over_white": self.shown_over_white}
        twins = {"duplicates": [list(found) for found in self.duplicates], "held_out_twins": self.twins}
        return {**counts, **looks, **twins, "bad": bad}

    def csv(self) -> bytes:
        """The bad images as CSV with a header: sample_id, uri, kind, reason."""
        lines = io.StringIO(newline="")
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows([getattr(image, name) for name in _COLUMNS] for image in self.bad)
        return lines.getvalue().encode(errors="surrogateescape")

    def _about_duplicates(self, examples: int) -> list[str]:
        if not self.duplicates:
            return []
        copies = sum(len(found) - 1 for found in self.duplicates)
        lines = [f"{copies:,} images are byte-identical copies of others"]
        lines += [f"  {' = '.join(found[:3])}" for found in self.duplicates[:examples]]
        if self.twins:
            lines.append(
                f"{self.twins:,} held-out images have a twin among the training images, which flatters an evaluation: "
                "kNN of runs that begin now leaves them out"
            )
        return lines


@dataclass(frozen=True, eq=False)
class _Block:
    """What one task found: the digests of its samples, (rows, 16) uint8, zero for one that could not be read."""

    digests: np.ndarray
    bad: list[BadImage]
    no_end: int
    transparent: int
    constant: int
    shown_over_white: int


def check(
    manifest: Manifest, *, workers: int | None = None, progress: Callable[[int, int], None] | None = None
) -> CheckResult:
    """Reads and decodes every image with ``workers`` processes (default: one a core); ``progress(done, in all)``.

    Raises StorageUnavailable, or MemoryError if the system killed a worker.
    """
    count, done = len(manifest), 0
    workers = workers or len(os.sched_getaffinity(0))
    digests = np.zeros((count, DIGEST), np.uint8)
    found: list[_Block] = []
    blocks = iter(np.split(np.arange(count), np.arange(_BLOCK, count, _BLOCK)))
    # Spawned, not forked: this process may hold threads and an S3 client.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        try:
            for ids, block in _in_flight(pool, manifest, blocks, 2 * workers):
                digests[ids] = block.digests
                found.append(replace(block, digests=digests[:0]))
                done += len(ids)
                if progress is not None:
                    progress(done, count)
        except BrokenProcessPool:
            raise MemoryError("a worker was killed, most likely for its memory; use fewer --workers") from None
    bad = sorted((image for block in found for image in block.bad), key=lambda image: image.sample_id)
    sets = equal_rows(digests)
    return CheckResult(
        images=count,
        bad=tuple(bad),
        no_end=sum(block.no_end for block in found),
        transparent=sum(block.transparent for block in found),
        constant=sum(block.constant for block in found),
        shown_over_white=sum(block.shown_over_white for block in found),
        duplicates=tuple(tuple(name_of(manifest, sample) for sample in equal) for equal in sets),
        twins=_twins(sets, set(manifest.test_ids().tolist())),
        classes=_by_class(manifest, bad),
        contents=contents_of(digests),
    )


def _twins(sets: list[list[int]], held_out: set[int]) -> int:
    """How many held-out samples are equal to one that is not."""
    inside = [[sample in held_out for sample in equal] for equal in sets]
    return sum(sum(flags) for flags in inside if not all(flags))


def _by_class(manifest: Manifest, bad: list[BadImage]) -> tuple[tuple[str, int, int], ...]:
    if not manifest.classes or not bad:
        return ()
    labels = manifest.labels
    sizes = np.bincount(labels[labels >= 0], minlength=len(manifest.classes))
    own = labels[[image.sample_id for image in bad]]
    counts = np.bincount(own[own >= 0], minlength=len(manifest.classes))
    return tuple((manifest.classes[c], int(counts[c]), int(sizes[c])) for c in np.flatnonzero(counts))


def _in_flight(
    pool: ProcessPoolExecutor, manifest: Manifest, blocks: Iterator[np.ndarray], most: int
) -> Iterator[tuple[np.ndarray, _Block]]:
    """Blocks as they are finished, with only so many submitted at a time that little of the manifest is pickled."""
    running: dict[Future[_Block], np.ndarray] = {}
    while True:
        for _, ids in zip(range(most - len(running)), blocks, strict=False):
            running[pool.submit(_check_block, manifest.take(ids), ids)] = ids
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future.result()


def _check_block(block: Manifest, sample_ids: np.ndarray) -> _Block:
    digests = np.zeros((len(block), DIGEST), np.uint8)
    bad: list[BadImage] = []
    no_end = transparent = constant = shown = 0
    for i, (sample_id, sample) in enumerate(zip(sample_ids, read_samples(block, np.arange(len(block))), strict=True)):
        try:
            if isinstance(sample, Exception):
                kind = "missing" if isinstance(sample, FileNotFoundError) else "not_read"
                raise UnreadableImage(kind, str(sample))
            source = SourceImage(sample, block.decoding)
            pixels = source.pixels()
            no_end += source.flaw == NO_END_MARKER
            see_through, one_color = source.is_transparent(), is_constant(pixels)
            transparent += see_through
            constant += one_color
            shown += see_through and one_color and not is_constant(over(source.rgba(), WHITE))
            digests[i] = content_digest(sample)
        except UnreadableImage as error:
            bad.append(BadImage(int(sample_id), name_of(block, i), error.kind, str(error)))
    return _Block(digests, bad, no_end, transparent, constant, shown)
