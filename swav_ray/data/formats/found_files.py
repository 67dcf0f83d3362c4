"""The files of a place as a listing finds them one by one: by kind, sorted on disk, counted, with a fingerprint."""

from __future__ import annotations

import hashlib
import os.path
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from swav_ray.data.contents import content_of_etag
from swav_ray.data.formats import metadata
from swav_ray.data.formats.names import KINDS, kind_of
from swav_ray.data.indexing.external_sort import ExternalSort, Files, SortedRows
from swav_ray.run.layout import IN_STORAGE_CACHE, LEASE, MANIFEST
from swav_ray.storage.place import Entry, Place, PlaceError

RUN_MANIFEST = f"/{MANIFEST}"  # in the directory of every run and sweep, which may lie among images

_COMPRESSED_TAR = re.compile(r"\.(tgz|tbz2?|txz|tar\.(gz|bz2|xz|zst))$")
CHUNK = 1 << 16  # names
_MOST_TABLES = 100  # Parquet files beside images that are looked into


class FoundFiles:
    """Collects entries in chunks of arrow, so that names cost their bytes and not objects, and sorts them on disk.

    Args:
        skip: folders, with their slash, that are left out.
        has_etags: of the entries.
        files: where sorted names are written.
        state: of an earlier collection, which this one continues.
    """

    def __init__(self, skip: tuple[str, ...], *, has_etags: bool, files: Files, state: Any = None) -> None:
        old = state or {}
        self.manifests = [Entry(*entry) for entry in old.get("manifests", [])]  # perhaps: by their names
        self.seen = int(old.get("seen", 0))  # entries
        self._skip, self._has_etags, self._files = skip, has_etags, files
        self._sorts = {kind: ExternalSort(files, runs) for kind, runs in old.get("sorts", {}).items()}
        self._open: dict[str, tuple[list[str], list[int], list[int]]] = {}
        self._counts: Counter[str] = Counter(old.get("counts", {}))
        self._others: Counter[str] = Counter(old.get("others", {}))
        self._example = old.get("example", "")
        self._compressed = old.get("compressed", "")
        self._dangling: list[str] = list(old.get("dangling", []))
        self._metadata = [Entry(*entry) for entry in old.get("metadata", [])]
        self._shards = [Entry(*entry) for entry in old.get("shards", [])]  # the first few
        self._sum = int(old.get("sum", "0"), 16)
        self.newest = float(old.get("newest", 0.0))  # when the newest object was written, as `Entry.written`

    def write(self) -> tuple[Any, list[Path]]:
        """Writes all names that are held. Returns the state, as JSON has it, and the files that belong to it."""
        for kind in list(self._open):
            self._close(kind)
        for sort in self._sorts.values():
            sort.spill()
        sorts = {kind: sort.runs() for kind, sort in self._sorts.items()}
        state = {
            "manifests": self.manifests,
            "seen": self.seen,
            "sorts": sorts,
            "counts": self._counts,
            "others": self._others,
            "example": self._example,
            "compressed": self._compressed,
            "dangling": self._dangling,
            "metadata": self._metadata,
            "shards": self._shards,
            "sum": self.fingerprint,
            "newest": self.newest,
        }
        return state, [Path(path) for runs in sorts.values() for path, *_ in runs]

    @property
    def is_empty(self) -> bool:
        return not self._counts and not self._others and not self._metadata

    @property
    def fingerprint(self) -> str:
        """Of all names, sizes and versions, whatever their order."""
        return f"{self._sum:032x}"

    def add(self, entry: Entry) -> None:
        self.seen += 1
        if _is_hidden(entry.name) or entry.name.startswith(self._skip):
            return
        self.newest = max(self.newest, entry.written)
        if entry.name.endswith(RUN_MANIFEST):
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
        if len(names) == CHUNK:
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
        self._sorts.setdefault(kind, ExternalSort(self._files)).add(batch)

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
        most = sorted(self._others.items(), key=lambda item: (-item[1], item[0]))[:5]
        kinds = ", ".join(f"{suffix} ({count:,})" for suffix, count in most)
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
