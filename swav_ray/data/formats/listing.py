"""What lies in a place: its files by kind, in one deterministic order, and a fingerprint that changes with any of them.

Looks at names and sizes alone. What a name says of a file's kind, split and class is in names.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from swav_ray.data.formats.found_files import CHUNK, RUN_MANIFEST, FoundFiles
from swav_ray.data.indexing import external_sort
from swav_ray.data.indexing.external_sort import SortedRows
from swav_ray.data.indexing.listed import how_long_ago
from swav_ray.data.indexing.unfinished import UnfinishedIndex
from swav_ray.storage.inventory import Inventory
from swav_ray.storage.pages import Pages, pages_of
from swav_ray.storage.place import Entry, Place, PlaceError
from swav_ray.storage.ranges import RangeFile

MANIFEST_KEY = b"swav_ray.manifest"  # footer entry of the Parquet files that are manifests and not shards

_ALL_LISTED = "all"  # in place of the state of pages
_ROWS_A_PIECE = 16  # a state of many pieces takes long to write: the names between two of them must be worth it


@dataclass(frozen=True)
class Listing:
    """The files of a place. ``files`` (name string, size int64, content uint64) are sorted by name, and not held.

    Contents (contents.py) are known on S3, by size and ETag; a local file's is 0.

    ``newest`` is when the newest object was written, in Unix seconds; 0 on a local disk. ``metadata`` are names of
    files that may have labels of images.
    """

    place: Place
    kind: str
    files: SortedRows
    fingerprint: str
    notes: tuple[str, ...]
    metadata: tuple[str, ...] = ()
    newest: float = 0.0


def survey(
    where: Place,
    unfinished: UnfinishedIndex,
    progress: Callable[[int], None] | None = None,
    inventory: Inventory | None = None,
) -> Listing:
    """Lists a place, or a single file, and finds its kind, one of KINDS.

    What swav_ray itself has written below the place (runs, sweeps, cached manifests) is left out. With an inventory of
    the bucket, that is read and the bucket is not listed. What ``unfinished`` has of the listing is not listed again.

    Raises:
        PlaceError: there is nothing, nothing of use, or more than one kind.
    """
    skip = tuple(unfinished.state["skip"]) if unfinished.state else ()
    found = _list(where, skip, unfinished, progress, inventory)
    if not skip and (runs := _run_folders(where, found.manifests)):
        # Listed once more, since S3 lists in any order: a run's files may come before its manifest.
        unfinished.state = None
        found = _list(where, runs, unfinished, progress, inventory)
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
    newest = found.newest if inventory is None else inventory.made
    return Listing(where, kind, found.files(kind), found.fingerprint, found.notes(), found.metadata(kind), newest)


def _list(
    where: Place,
    skip: tuple[str, ...],
    unfinished: UnfinishedIndex,
    progress: Callable[[int], None] | None,
    inventory: Inventory | None,
) -> FoundFiles:
    old = unfinished.state or {"found": None, "pages": None}
    found = FoundFiles(skip, has_etags=not where.is_local, files=unfinished, state=old["found"])
    if old["pages"] == _ALL_LISTED:
        return found
    if inventory is None:
        pages = pages_of(where.uri, found.add_dangling, old["pages"])
    else:
        pages = inventory.pages(where, old["pages"])
    written = found.seen
    for page in pages:
        for entry in page:
            found.add(entry)
            if progress is not None and found.seen % 1000 == 0:
                progress(found.seen)
        if _is_due(found.seen - written, pages) and (state := pages.state()) is not None:
            _save(unfinished, skip, found, state)
            written = found.seen
    if unfinished.state is not None:
        _save(unfinished, skip, found, _ALL_LISTED)
    return found


def _is_due(rows: int, pages: Pages) -> bool:
    """Whether so many names are worth a run on disk; a little fewer than a sort holds, so that it is one run."""
    return rows >= max(external_sort.RUN_ROWS - CHUNK, _ROWS_A_PIECE * len(pages))


def _save(unfinished: UnfinishedIndex, skip: tuple[str, ...], found: FoundFiles, pages: object) -> None:
    state, files = found.write()
    if files:
        unfinished.save({"skip": skip, "found": state, "pages": pages}, files)


def _run_folders(where: Place, manifests: Iterable[Entry]) -> tuple[str, ...]:
    """The folders, with their slash, of runs and sweeps: those whose `manifest.parquet` is a manifest and no shard."""
    folders: tuple[str, ...] = ()
    for name, size, *_ in sorted(manifests, key=lambda entry: len(entry.name)):  # a sweep before the trials in it
        if not name.startswith(folders) and _is_manifest(where / name, size):
            folders += (name.removesuffix(RUN_MANIFEST) + "/",)
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
