"""What lies in a place: its files by kind, in one deterministic order, and a fingerprint that changes with any of them.

Looks at names and sizes alone. What a name says of a file's kind, split and class is in names.py.
"""

from __future__ import annotations

import hashlib
import os.path
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from swav_ray.data.contents import content_of_etag
from swav_ray.data.formats import metadata
from swav_ray.data.formats.names import KINDS, kind_of
from swav_ray.data.indexing.external_sort import ExternalSort, SortedRows
from swav_ray.data.indexing.listed import how_long_ago
from swav_ray.run.layout import IN_STORAGE_CACHE, LEASE, MANIFEST
from swav_ray.storage.inventory import Inventory
from swav_ray.storage.place import Entry, Place, PlaceError
from swav_ray.storage.ranges import RangeFile

MANIFEST_KEY = b"swav_ray.manifest"  # footer entry of the Parquet files that are manifests and not shards

_COMPRESSED_TAR = re.compile(r"\.(tgz|tbz2?|txz|tar\.(gz|bz2|xz|zst))$")
_CHUNK = 1 << 16  # names
_MOST_TABLES = 100  # Parquet files beside images that are looked into

# Runs may lie in the place that they train on: `--data.uri .` with the default storage.
_RUN_MANIFEST = f"/{MANIFEST}"  # in the directory of every run and sweep


@dataclass(frozen=True)
class Listing:
    """The files of a place. ``files`` (name string, size int64, content uint64) are sorted by name, and not held.

    Contents (contents.py) are known on S3, by size and ETag; a local file's is 0.

    ``metadata`` are names of files that may have labels of images.
    """

    place: Place
    kind: str
    files: SortedRows
    fingerprint: str
    notes: tuple[str, ...]
    metadata: tuple[str, ...] = ()


def survey(where: Place, progress: Callable[[int], None] | None = None, inventory: Inventory | None = None) -> Listing:
    """Lists a place, or a single file, and finds its kind, one of KINDS.

    What swav_ray itself has written below the place (runs, sweeps, cached manifests) is left out. With an inventory of
    the bucket, that is read and the bucket is not listed.

    Raises:
        PlaceError: there is nothing, nothing of use, or more than one kind.
    """
    found = _list(where, (), progress, inventory)
    if runs := _run_folders(where, found.manifests):
        # Listed once more, since S3 lists in any order: a run's files may come before its manifest.
        found = _list(where, runs, progress, inventory)
    if found.is_empty and inventory is None and where.is_file():
        where, alone = where.parent, where.stat()
        found.add(alone)
    if found.is_empty and found.notes():
        raise PlaceError(f"{where}: holds no files; {found.notes()[0]}")
    if found.is_empty:
        if inventory is not None:
            age = how_long_ago(inventory.made)
            raise PlaceError(
                f"{inventory.where}: the inventory, {age} old, has no files below {where}; a later one may"
            )
        missing = where.is_local and not where.exists()
        raise PlaceError(
            f"{where}: {'does not exist' if missing else 'holds no files'}; give a folder or s3://bucket/prefix of "
            "images, Parquet shards, tars or IDX files"
        )
    found.leave_out(_tables(where, found.shards_beside_images()))
    kind = found.kind(where)
    return Listing(where, kind, found.files(kind), found.fingerprint, found.notes(), found.metadata(kind))


def _list(
    where: Place, skip: tuple[str, ...], progress: Callable[[int], None] | None, inventory: Inventory | None
) -> _Survey:
    found = _Survey(skip, has_etags=not where.is_local)
    entries = where.list(found.add_dangling) if inventory is None else inventory.entries(where)
    for count, entry in enumerate(entries, start=1):
        found.add(entry)
        if progress is not None and count % 1000 == 0:
            progress(count)
    return found


def _run_folders(where: Place, manifests: Iterable[Entry]) -> tuple[str, ...]:
    """The folders, with their slash, of runs and sweeps: those whose `manifest.parquet` is a manifest and no shard."""
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


def _tables(where: Place, shards: Iterable[Entry]) -> list[Entry]:
    """Those of these Parquet files that hold no image: tables of labels or measurements that lie beside images."""
    return [entry for entry in shards if not _may_hold_images(where / entry.name, entry.size)]


def _may_hold_images(path: Place, size: int) -> bool:
    try:
        with pq.ParquetFile(path.uri if path.is_local else pa.PythonFile(RangeFile(path, size), mode="r")) as file:
            return any(
                column.physical_type == "BYTE_ARRAY" and column.logical_type.type == "NONE" for column in file.schema
            )
    except (pa.ArrowInvalid, FileNotFoundError):
        return True


class _Survey:
    """Collects entries in chunks of arrow, so that names cost their bytes and not objects, and sorts them on disk.

    ``skip`` are folders, with their slash, that are left out. ``has_etags``: of the entries.
    """

    def __init__(self, skip: tuple[str, ...], *, has_etags: bool) -> None:
        self.manifests: list[Entry] = []  # perhaps: by their names
        self._skip, self._has_etags = skip, has_etags
        self._sorts: dict[str, ExternalSort] = {}
        self._open: dict[str, tuple[list[str], list[int], list[int]]] = {}
        self._counts: Counter[str] = Counter()
        self._others: Counter[str] = Counter()
        self._example = ""
        self._compressed = ""
        self._dangling: list[str] = []
        self._metadata: list[Entry] = []
        self._shards: list[Entry] = []  # the first few
        self._sum = 0

    @property
    def is_empty(self) -> bool:
        return not self._counts and not self._others and not self._metadata

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
        if os.path.basename(entry.name) in metadata.NAMES:
            self._metadata.append(entry)
            return
        self._take(entry)

    def _take(self, entry: Entry) -> None:
        kind = kind_of(entry.name) if _is_text(entry.name) else None
        if kind is None:
            self._others[_suffix_of(entry.name)] += 1
            self._example = min(self._example or entry.name, entry.name)
            if _COMPRESSED_TAR.search(entry.name.lower()):
                self._compressed = entry.name
            return
        self._counts[kind] += 1
        if kind == "parquet" and len(self._shards) <= _MOST_TABLES:
            self._shards.append(entry)
        names, sizes, contents = self._open.setdefault(kind, ([], [], []))
        names.append(entry.name)
        sizes.append(entry.size)
        contents.append(content_of_etag(entry.size, entry.etag_or_mtime) if self._has_etags else 0)
        if len(names) == _CHUNK:
            self._close(kind)

    def shards_beside_images(self) -> list[Entry]:
        """The Parquet files, if they are few and images lie there too; else none."""
        return self._shards if self._counts["image"] and len(self._shards) <= _MOST_TABLES else []

    def leave_out(self, shards: list[Entry]) -> None:
        """Counts Parquet files as files of no use, if these are all that there are."""
        if not shards or len(shards) < self._counts["parquet"]:
            return
        del self._counts["parquet"]
        self._others[".parquet"] += len(shards)
        self._example = min([self._example or shards[0].name, *(entry.name for entry in shards)])

    def add_dangling(self, name: str) -> None:
        """Takes the name of a link that leads nowhere."""
        if not _is_hidden(name) and not name.startswith(self._skip):
            self._dangling.append(name)

    def _close(self, kind: str) -> None:
        names, sizes, contents = self._open.pop(kind, ([], [], []))
        columns = {"name": pa.array(names, pa.string()), "size": pa.array(sizes, pa.int64())}
        batch = pa.record_batch({**columns, "content": pa.array(contents, pa.uint64())})
        self._sorts.setdefault(kind, ExternalSort()).add(batch)

    def metadata(self, kind: str) -> tuple[str, ...]:
        """Names of the files that may have labels of images; what is not images has its own."""
        return tuple(sorted(entry.name for entry in self._metadata)) if kind == "image" else ()

    def kind(self, where: Place) -> str:
        if not self._counts["image"]:  # there they are files like any other: a shard may have such a name
            for entry in self._metadata:
                self._take(entry)
            self._metadata = []
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

    def files(self, kind: str) -> SortedRows:
        self._close(kind)
        return self._sorts[kind].sorted()

    def notes(self) -> tuple[str, ...]:
        notes = []
        if self._others:
            notes.append(f"left out {self._others.total():,} files that are not images: {self._named()}")
        if self._dangling:
            example = min(self._dangling).encode(errors="replace").decode()
            notes.append(f"left out {len(self._dangling):,} links that lead nowhere; for example {example}")
        return tuple(notes)

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
