"""Other formats into Parquet shards of even size. A killed import resumes when it is run again, to the same result.

How many shards there will be, of which samples, is written first and never changes. A shard is written whole or not at
all. So a shard that exists is right, and those that are missing are the work left.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from swav_ray.data.formats.names import SPLITS
from swav_ray.data.formats.shard_writer import StoredImage, imported_layout, write_shard
from swav_ray.data.formats.shards import IMPORT_FILE
from swav_ray.data.manifest import Manifest, build
from swav_ray.data.order.keyed_permutation import KeyedPermutation
from swav_ray.data.sources import read_samples
from swav_ray.data.tools.duplicates import without_copies
from swav_ray.data.tools.shrink import shrunk
from swav_ray.data.tools.torchvision_source import PREFIX, TorchvisionSource
from swav_ray.storage.place import Place, PlaceError, is_leftover, place

SHARD_BYTES = 64 << 20
_SHUFFLED = 0x696D706F7274  # keeps this order apart from those of training
_FORMAT = 1
_LARGEST_SHARD_ROWS = 65_536
_READ_TOGETHER = 128  # samples
_NOT_THERE = (FileNotFoundError, EOFError, ValueError)  # other errors may be gone at another try
SKIPPED = "_skipped-"  # begins the name of the list of what a shard lacks


@dataclass(frozen=True)
class Imported:
    """What an import did: images and shards in all, and how many shards this run wrote.

    Attributes:
        skipped: samples that are not there: rows without bytes, files gone since they were listed. SKIPPED files in the
            output name them.
        duplicates: byte-identical copies that were left out.
        notes: lines for the user, on what the listing of the source left out.
    """

    images: int
    shards: int
    written: int
    skipped: int = 0
    duplicates: int = 0
    notes: tuple[str, ...] = ()


class Skipped(NamedTuple):
    """A sample that is not there, and why in one line."""

    uri: str
    reason: str


class _Source(Protocol):
    """A place or a torchvision data set, as the import reads it."""

    name: str
    classes: list[str]
    has_labels: bool
    fingerprint: str
    counts: dict[str, int]
    threads: int
    duplicates: int
    notes: tuple[str, ...]

    def mean_bytes(self) -> float: ...

    def read(self, split: str, ids: np.ndarray) -> Iterator[StoredImage | Skipped]: ...


class _PlaceSource:
    """Any place that can be indexed."""

    threads = 4  # shards written at a time, each a few times SHARD_BYTES of memory

    def __init__(self, manifest: Manifest, deduplicate: bool) -> None:
        self._manifest = manifest
        self._ids = dict(zip(SPLITS, (manifest.train_ids(), manifest.test_ids()), strict=True))
        self.duplicates = 0
        if deduplicate:
            kept = without_copies(manifest)
            self._ids = {split: ids[np.isin(ids, kept)] for split, ids in self._ids.items()}
            self.duplicates = len(manifest) - len(kept)
        self.name, self.notes = manifest.root, manifest.notes
        self.classes = manifest.classes
        self.has_labels = bool((manifest.labels >= 0).any())
        self.fingerprint = manifest.fingerprint
        self.counts = {split: len(ids) for split, ids in self._ids.items() if len(ids)}

    def mean_bytes(self) -> float:
        lengths = self._manifest.table["length"].to_numpy()
        if (lengths >= 0).all():
            return float(lengths.mean())
        ids = np.linspace(0, len(self._manifest) - 1, 64).astype(int)
        sizes = [len(_encoded(s)) for s in read_samples(self._manifest, ids) if not isinstance(s, Exception)]
        return float(np.mean(sizes)) if sizes else 0.0

    def read(self, split: str, ids: np.ndarray) -> Iterator[StoredImage | Skipped]:
        sample_ids = self._ids[split][ids]
        rows = self._manifest.take(sample_ids)
        names, labels = rows.table["uri"].to_pylist(), rows.labels
        for start in range(0, len(rows), _READ_TOGETHER):
            positions = np.arange(start, min(start + _READ_TOGETHER, len(rows)))
            for i, data in zip(map(int, positions), read_samples(rows, positions), strict=True):
                if isinstance(data, _NOT_THERE):
                    yield Skipped(rows.uri_of(i), str(data))
                    continue
                if isinstance(data, Exception):
                    raise OSError(f"{rows.uri_of(i)}: cannot be read ({data}); run the import again to resume")
                yield StoredImage(_encoded(data), names[i], int(labels[i]))


@dataclass(frozen=True)
class _Shards:
    """Which shards there will be; equal for equal sources."""

    format: int
    source: str
    fingerprint: str
    counts: dict[str, int]
    shards: dict[str, int]
    max_side: int = 0
    shuffled: bool = False

    def names(self) -> Iterator[tuple[str, str, np.ndarray]]:
        """Name, split and indices (into the split) of every shard; sizes differ by at most one."""
        for split, shards in self.shards.items():
            edges = np.linspace(0, self.counts[split], shards + 1).astype(np.int64)
            for i in range(shards):
                ids = np.arange(edges[i], edges[i + 1])
                if self.shuffled:
                    ids = KeyedPermutation(self.counts[split], (_SHUFFLED,))(ids)
                yield f"{split}-{i:05d}-of-{shards:05d}.parquet", split, ids


def import_shards(
    source: str,
    out: str,
    *,
    shard_bytes: int = SHARD_BYTES,
    max_side: int = 0,
    deduplicate: bool = False,
    shuffle: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Imported:
    """Writes the images of ``source`` into Parquet shards in ``out``, byte for byte; arrays become PNG.

    Above 0, ``max_side`` makes images smaller whose longer side has more pixels (see `shrunk`). ``deduplicate`` keeps
    one of several byte-identical images; of a training image and one of the test split, the latter. ``shuffle`` writes
    each split in a random order, always the same one, so that neighbours in a shard are of no one class.

    ``source`` is a place or ``torchvision:CLASS:ROOT``; ``progress(images done, images in all)``. Samples that are not
    there are skipped and listed. Raises PlaceError if the source cannot be read or ``out`` holds something else.
    """
    target = place(out)
    reader = _open(source, deduplicate)
    shards = _shards_for(reader, target, shard_bytes, max_side, shuffle)
    there = {entry.name for entry in target.list()}
    for name in filter(is_leftover, there):
        (target / name).delete()
    work = [(name, split, ids) for name, split, ids in shards.names() if name not in there]
    total = sum(shards.counts.values())
    done = total - sum(len(ids) for _, _, ids in work)

    layout = imported_layout(reader.classes, has_labels=reader.has_labels)

    def write(job: tuple[str, str, np.ndarray]) -> int:
        name, split, ids = job
        skipped: list[Skipped] = []

        def images() -> Iterator[StoredImage]:
            for sample in reader.read(split, ids):
                if isinstance(sample, Skipped):
                    skipped.append(sample)
                else:
                    yield sample._replace(data=shrunk(sample.data, max_side)) if max_side else sample

        shard = write_shard(images(), layout)
        if skipped:  # first, so that a shard that is there has its list
            (target / f"{SKIPPED}{name}.csv").write_bytes(_as_csv(skipped))
        (target / name).write_bytes(shard)
        return len(ids)

    pool = ThreadPoolExecutor(reader.threads, "import")
    try:
        for count in pool.map(write, work):
            done += count
            if progress is not None:
                progress(done, total)
    finally:
        pool.shutdown(cancel_futures=True)
    missing = sum(
        len((target / entry.name).read_bytes().splitlines())
        for entry in target.list()
        if entry.name.startswith(SKIPPED)
    )
    return Imported(total - missing, sum(shards.shards.values()), len(work), missing, reader.duplicates, reader.notes)


def _as_csv(skipped: list[Skipped]) -> bytes:
    lines = io.StringIO(newline="")
    csv.writer(lines, lineterminator="\n").writerows((uri, " ".join(reason.split())) for uri, reason in skipped)
    return lines.getvalue().encode(errors="surrogateescape")


def _open(source: str, deduplicate: bool) -> _Source:
    if not source.startswith(PREFIX):
        return _PlaceSource(build(source), deduplicate)
    if deduplicate:
        raise PlaceError(f"{source}: has no files to compare; import it first, and then its shards with --deduplicate")
    return TorchvisionSource(source)


def _shards_for(source: _Source, target: Place, shard_bytes: int, max_side: int, shuffle: bool) -> _Shards:
    """The shards that ``target`` was begun with, or new ones, written there."""
    try:
        begun = json.loads((target / IMPORT_FILE).read_bytes())
    except FileNotFoundError:
        begun = None
        other = next((entry.name for entry in target.list() if not is_leftover(entry.name)), None)
        if other is not None:
            raise PlaceError(f"{target}: holds other files ({other}); give an empty folder or prefix") from None
    if begun is not None:
        if (begun["format"], begun["fingerprint"], begun["counts"]) != (_FORMAT, source.fingerprint, source.counts):
            raise PlaceError(
                f"{target}: was begun from {begun['source']} as that was then, or with another --deduplicate; give "
                "another folder or delete this one"
            )
        if begun.get("max_side", 0) != max_side:
            before = begun.get("max_side", 0)
            raise PlaceError(f"{target}: was begun with --max-side {before}; give that, or another folder")
        if begun.get("shuffled", False) != shuffle:
            before = "with" if begun.get("shuffled", False) else "without"
            raise PlaceError(f"{target}: was begun {before} --shuffle; do as then, or give another folder")
        return _Shards(**begun)
    rows = int(np.clip(shard_bytes / max(1.0, source.mean_bytes()), 1, _LARGEST_SHARD_ROWS))
    numbers = {split: -(-count // rows) for split, count in source.counts.items()}
    shards = _Shards(_FORMAT, source.name, source.fingerprint, source.counts, numbers, max_side, shuffle)
    (target / IMPORT_FILE).write_bytes(json.dumps(asdict(shards), indent=1).encode())
    return shards


def _encoded(sample: bytes | np.ndarray) -> bytes:
    """Bytes as they are; an array as PNG, with one channel if all three are equal."""
    if not isinstance(sample, np.ndarray):
        return sample
    grey = (sample == sample[..., :1]).all()
    sink = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(sample[..., 0] if grey else sample)).save(sink, "PNG")
    return sink.getvalue()
