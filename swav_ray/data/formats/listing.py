"""What lies in a place: its files by kind, in one deterministic order, and a fingerprint that changes with any of them.

Only names and sizes are looked at here. What the names say about classes and splits is at the end of the file, because
folders, shards, tars and IDX files all say it in the same way.
"""

from __future__ import annotations

import hashlib
import os.path
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from swav_ray.run.layout import IN_STORAGE_CACHE, LEASE, MANIFEST
from swav_ray.storage.place import Entry, Place, PlaceError
from swav_ray.storage.ranges import RangeFile

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
)
KINDS = {"image": "image files", "parquet": "Parquet shards", "tar": "tars", "idx": "IDX files"}
TRAIN, TEST = 0, 1
SPLITS = ("train", "test")
MOST_CLASSES = 1 << 20  # a larger number is an id and no class: a name for each one below it would be gigabytes
MANIFEST_KEY = b"swav_ray.manifest"  # footer entry of the Parquet files that are manifests and not shards

_IDX_NAME = re.compile(r"(images|labels)[-.]idx\d-ubyte(\.gz)?$")
_COMPRESSED_TAR = re.compile(r"\.(tgz|tbz2?|txz|tar\.(gz|bz2|xz|zst))$")
_SPLITS = "train|training|val|valid|validation|dev|eval|evaluation|test|testing|t10k"
_SPLIT_WORD = re.compile(rf"(?:^|[-_./])({_SPLITS})(?=$|[-_./0-9])", re.I)
_CHUNK = 1 << 16

# Runs and what they keep may lie in the place that they train on: `--data.uri .` with the storage that is the default.
_RUN_MANIFEST = f"/{MANIFEST}"  # in the directory of every run and sweep


@dataclass(frozen=True)
class Listing:
    """The files of a place. ``files`` (name string, size int64) are sorted by name, bytewise."""

    place: Place
    kind: str
    files: pa.Table
    fingerprint: str
    notes: tuple[str, ...]


def survey(where: Place, progress: Callable[[int], None] | None = None) -> Listing:
    """Lists a place, or a single file, and tells its kind, one of KINDS.

    What swav_ray itself has written below the place (runs, sweeps, kept manifests) is no part of it. Raises PlaceError
    where there is nothing, nothing of use, or more than one kind.
    """
    found = _list(where, (), progress)
    if runs := _run_folders(where, found.manifests):
        # Listed once more, since S3 lists in any order: a run's files may have come before the one that tells it.
        found = _list(where, runs, progress)
    if found.is_empty and where.is_file():
        where, alone = where.parent, where.stat()
        found.add(alone)
    if found.is_empty:
        missing = where.is_local and not where.exists()
        raise PlaceError(
            f"{where}: {'does not exist' if missing else 'holds no files'}; give a folder or s3://bucket/prefix of "
            "images, Parquet shards, tars or IDX files"
        )
    return Listing(where, found.kind(where), found.table(found.kind(where)), found.fingerprint, found.notes())


def _list(where: Place, skip: tuple[str, ...], progress: Callable[[int], None] | None) -> _Found:
    found = _Found(skip)
    for count, entry in enumerate(where.list(), start=1):
        found.add(entry)
        if progress is not None and count % 1000 == 0:
            progress(count)
    return found


def _run_folders(where: Place, manifests: Iterable[Entry]) -> tuple[str, ...]:
    """The folders, with their slash, of the runs and sweeps whose manifests these are; a shard of that name is none."""
    folders: tuple[str, ...] = ()
    for name, size, _ in sorted(manifests, key=lambda entry: len(entry.name)):  # a sweep before the trials in it
        if not name.startswith(folders) and _is_manifest(where / name, size):
            folders += (name.removesuffix(_RUN_MANIFEST) + "/",)
    return folders


def _is_manifest(path: Place, size: int) -> bool:
    try:
        metadata = pq.read_schema(
            path.uri if path.is_local else pa.PythonFile(RangeFile(path, size), mode="r")
        ).metadata
    except (pa.ArrowInvalid, FileNotFoundError):
        return False
    return MANIFEST_KEY in (metadata or {})


class _Found:
    """Collects entries in chunks of arrow, so that a million names cost their bytes and not a million objects.

    ``skip`` are folders, with their slash, that are left out.
    """

    def __init__(self, skip: tuple[str, ...]) -> None:
        self.manifests: list[Entry] = []  # perhaps: by their names
        self._skip = skip
        self._chunks: dict[str, list[pa.RecordBatch]] = {}
        self._open: dict[str, tuple[list[str], list[int]]] = {}
        self._counts: Counter[str] = Counter()
        self._others: Counter[str] = Counter()
        self._example = ""
        self._compressed = ""
        self._sum = 0

    @property
    def is_empty(self) -> bool:
        return not self._counts and not self._others

    @property
    def fingerprint(self) -> str:
        """Of all names, sizes and versions, whatever their order."""
        return f"{self._sum:032x}"

    def add(self, entry: Entry) -> None:
        if _is_hidden(entry.name) or entry.name.startswith(self._skip):
            return
        if entry.name.endswith(_RUN_MANIFEST):
            self.manifests.append(entry)
        text = f"{entry.name}\0{entry.size}\0{entry.etag_or_mtime}".encode(errors="surrogateescape")
        digest = hashlib.blake2b(text, digest_size=16).digest()
        self._sum = (self._sum + int.from_bytes(digest, "big")) % (1 << 128)
        kind = kind_of(entry.name) if _is_text(entry.name) else None
        if kind is None:
            self._others[_suffix_of(entry.name)] += 1
            self._example = min(self._example or entry.name, entry.name)
            if _COMPRESSED_TAR.search(entry.name.lower()):
                self._compressed = entry.name
            return
        self._counts[kind] += 1
        names, sizes = self._open.setdefault(kind, ([], []))
        names.append(entry.name)
        sizes.append(entry.size)
        if len(names) == _CHUNK:
            self._close(kind)

    def _close(self, kind: str) -> None:
        names, sizes = self._open.pop(kind, ([], []))
        batch = pa.record_batch({"name": pa.array(names, pa.string()), "size": pa.array(sizes, pa.int64())})
        self._chunks.setdefault(kind, []).append(batch)

    def kind(self, where: Place) -> str:
        kinds = [kind for kind in KINDS if self._counts[kind]]
        if len(kinds) == 1:
            return kinds[0]
        if kinds:
            seen = " and ".join(f"{self._counts[kind]:,} {KINDS[kind]}" for kind in kinds)
            raise PlaceError(f"{where}: holds {seen}; point at a folder that holds one kind")
        if self._compressed:
            raise PlaceError(f"{where}: {self._compressed} is a compressed tar, which has no random access; unpack it")
        raise PlaceError(
            f"{where}: none of its files is an image, a Parquet shard, a tar or an IDX file: {self._named()}"
        )

    def table(self, kind: str) -> pa.Table:
        self._close(kind)
        return pa.Table.from_batches(self._chunks[kind]).sort_by("name").combine_chunks()

    def notes(self) -> tuple[str, ...]:
        return (
            (f"left out {self._others.total():,} files that are not images: {self._named()}",) if self._others else ()
        )

    def _named(self) -> str:
        kinds = ", ".join(f"{suffix} ({count:,})" for suffix, count in self._others.most_common(5))
        return f"{kinds}; for example {self._example.encode(errors='replace').decode()}"


def _is_hidden(name: str) -> bool:
    """Whether a file is a system's own, .DS_Store, __MACOSX/..., _SUCCESS, or known by its name for swav_ray's."""
    parts = name.split("/")
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return True
    if parts[-1] == LEASE or IN_STORAGE_CACHE.search(name):
        return True
    return parts[-1].startswith("_") and kind_of(name) is None


def _is_text(name: str) -> bool:
    """Whether a local file's name is UTF-8; S3's always are."""
    try:
        name.encode()
        return True
    except UnicodeEncodeError:
        return False


def _suffix_of(name: str) -> str:
    """What a file that is left out is counted under."""
    return os.path.splitext(name)[1].lower() or "no suffix" if _is_text(name) else "a name that is not UTF-8"


def kind_of(name: str) -> str | None:
    """The kind of a file by its name, None where it is of no use."""
    lower = name.lower()
    suffix = os.path.splitext(lower)[1]
    if suffix in IMAGE_SUFFIXES:
        return "image"
    if suffix in (".parquet", ".pq"):
        return "parquet"
    if suffix == ".tar":
        return "tar"
    return "idx" if _IDX_NAME.search(lower) else None


def split_word(name: str) -> str | None:
    """train or test where a name says so: ``train/...``, ``val``, ``test-00000-of-00004.parquet``, ``t10k-images``."""
    found = _SPLIT_WORD.search(name)
    if found is None:
        return None
    return "train" if found[1].lower().startswith("train") else "test"


def splits_of(words: Sequence[str | None]) -> list[int]:
    """TRAIN or TEST of each name from what `split_word` found in it. Without a train among them all are TRAIN."""
    if "train" not in words:
        return [TRAIN] * len(words)
    return [TEST if word == "test" else TRAIN for word in words]


def splits_of_files(files: pa.Table) -> list[int]:
    """TRAIN or TEST of each of a listing's files by its name; folders that all of them share say nothing."""
    start = len(common_folder(files["name"]))
    return splits_of([split_word(name[start:]) for name in files["name"].to_pylist()])


def common_folder(names: pa.ChunkedArray) -> str:
    """The folder, with its slash, that all of these sorted names are in; empty where there is none."""
    # By character: commonpath would drop the // and the . that keys may hold.
    shared = os.path.commonprefix([names[0].as_py(), names[-1].as_py()])  # noqa: RUF071
    return shared[: shared.rfind("/") + 1]


def encode_labels(
    words: Iterable[Sequence[str | None]], order: Callable[[str], int] | None = None
) -> tuple[pa.ChunkedArray, list[str]]:
    """Labels (int32, -1 where None) and their names, sorted (by ``order`` if given), from class names in chunks."""
    seen: dict[str, int] = {}
    chunks = []
    for chunk in words:
        codes = [-1 if word is None else seen.setdefault(word, len(seen)) for word in chunk]
        chunks.append(pa.array(codes, pa.int32()))
    classes = sorted(seen, key=order)
    rank = {name: label for label, name in enumerate(classes)}
    relabel = np.array([rank[name] for name in seen] + [-1], np.int32)  # a code of -1 takes the last
    return pa.chunked_array([pa.array(relabel[chunk.to_numpy()]) for chunk in chunks], pa.int32()), classes


def chunked(names: pa.ChunkedArray) -> Iterable[list[str]]:
    """The names as Python strings, a chunk at a time."""
    return (names.slice(start, _CHUNK).to_pylist() for start in range(0, len(names), _CHUNK))
