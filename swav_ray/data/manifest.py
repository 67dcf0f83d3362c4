"""The list of samples of a place. A row's index is its sample_id, the same on every machine and in every run.

Built from the place's listing in sorted order, so nothing depends on the order in which a server lists. Cached as
Parquet with a fingerprint of the place, and built anew when that changes. A list of more than MOST_IN_MEMORY samples
stays in storage (partitions.py); its file has only what is held of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swav_ray.config import DataConfig
from swav_ray.data.decoding.choices import Decoding
from swav_ray.data.formats.folder import index_folder
from swav_ray.data.formats.idx import index_idx
from swav_ray.data.formats.listing import MANIFEST_KEY, Listing, survey
from swav_ray.data.formats.names import KINDS
from swav_ray.data.formats.rows import RowStream
from swav_ray.data.formats.shards import index_shards
from swav_ray.data.formats.tars import index_tars
from swav_ray.data.indexing import listed
from swav_ray.data.indexing.partitions import FILE_ROWS, MOST_IN_MEMORY, Partitions, PartitionWriter
from swav_ray.data.indexing.unfinished import unfinished_index
from swav_ray.data.looking import look
from swav_ray.data.looks import Looks
from swav_ray.data.samples import Manifest
from swav_ray.run.layout import manifest_cache
from swav_ray.storage.inventory import Inventory
from swav_ray.storage.pages import server_of
from swav_ray.storage.place import Place, PlaceError, StorageUnavailable, place
from swav_ray.storage.ranges import RangeFile

__all__ = ["Manifest", "PlaceError", "build", "cache_of", "cached_at", "load", "load_group", "load_or_build", "save"]

_FORMAT = 3  # of the file. 2: looks and decoding. 3: with partitions; other lists are written as 2

QUICKLY_LISTED = 100_000  # images: listing so many again takes a second or two

log = logging.getLogger("swav_ray.data")
Progress = Callable[[int], None]


def build(uri: str, *, progress: Progress | None = None) -> Manifest:
    """Lists and indexes a place: images, Parquet shards, tars or IDX files.

    ``progress`` gets the number of files, then of samples, found so far. Raises PlaceError (a ValueError), one line,
    if there is nothing to train on.
    """
    with unfinished_index(_depends_on(place(uri), None)) as unfinished:
        return _index(survey(place(uri), unfinished, progress), progress)


def _depends_on(where: Place, inventory: Inventory | None) -> str:
    """All that a listing depends on beside what the place holds: which place, on which server, by which inventory."""
    by = [str(inventory.where), str(inventory.made), *map(str, inventory.files)] if inventory else []
    return "\n".join([where.uri, server_of(where.uri), *by])


def _index(listing: Listing, progress: Progress | None, file: Place | None = None) -> Manifest:
    """The samples of a place; with the `file` that they will be saved as, too many of them never lie in memory."""
    rows: RowStream
    if listing.kind == "image":
        rows = index_folder(listing)
    elif listing.kind == "idx":
        rows = index_idx(listing)
    elif listing.kind == "tar":
        rows = index_tars(listing, progress)
    else:
        rows = index_shards(listing, progress)
    if not rows.num_rows:
        raise PlaceError(f"{listing.place}: its {listing.files.num_rows:,} {KINDS[listing.kind]} hold no image")
    if progress is not None:
        progress(rows.num_rows)
    table: pa.Table | Partitions
    if file is not None and rows.num_rows > MOST_IN_MEMORY:
        table = _in_partitions(rows.tables(), file, listing.fingerprint)
    else:
        table = rows.table()
    made = Manifest(table, listing.place.uri, rows.classes, listing.fingerprint, listing.notes + rows.notes)
    made = replace(made, newest=listing.newest)
    return replace(made, looks=look(made)).decoded_by(DataConfig())


def cache_of(storage: str) -> Place:
    """The folder of cached manifests of a storage; training and the commands of swav_ray.data use the same."""
    return manifest_cache(place(storage))


def cached_at(uri: str, cache: Place) -> Place:
    """The file in the folder ``cache`` that has the manifest of a place."""
    return cache / f"{hashlib.sha256(place(uri).uri.encode()).hexdigest()[:16]}.parquet"


def load_or_build(
    uri: str,
    cache: Place,
    *,
    progress: Progress | None = None,
    recheck: bool = True,
    inventory: Inventory | None = None,
) -> Manifest:
    """The manifest in the folder ``cache`` if the place still has its fingerprint; else a new one, which is cached.

    The place is listed for that (a request per 1,000 keys), or its ``inventory`` is read. With ``recheck`` False a long
    cached list is taken as it is, with a note of its age. Shards and tars are opened only if the place has changed,
    which is logged as a warning.
    """
    file = cached_at(uri, cache)
    cached = _load(file)
    if not recheck and cached is not None and len(cached) > QUICKLY_LISTED and (age := listed.age(file)):
        note = f"the list of {len(cached):,} images is {age} old; --data.recheck true lists {cached.root} again"
        return replace(cached, notes=(*cached.notes, note))
    with unfinished_index(_depends_on(place(uri), inventory)) as unfinished:
        listing = survey(place(uri), unfinished, progress, inventory)
        when = unfinished.began if inventory is None else inventory.made
        changed = cached is not None and cached.fingerprint != listing.fingerprint
        if cached is not None and not changed and cached.looks is not None and cached.has_contents:
            if cached.newest != listing.newest:  # the same bytes were written again
                cached = save(replace(cached, newest=listing.newest), file)
            listed.note(file, when)
            return cached
        made = _index(listing, progress, file)
        if cached is not None and changed:
            log.warning("%s has changed since it was indexed: %d images, before %d", made.root, len(made), len(cached))
        made = save(made, file)
        listed.note(file, when)
        return made


def _in_partitions(tables: Iterable[pa.Table], file: Place, fingerprint: str) -> Partitions:
    """The rows, written to a folder beside the manifest's file: another one for each version of the place."""
    writer = PartitionWriter(file.parent / f"{file.name.removesuffix('.parquet')}-{fingerprint}-{FILE_ROWS}")
    for table in tables:
        writer.write(table)
    return writer.close()


def save(
    manifest: Manifest, where: Place, *, group_rows: int | None = None, most_in_memory: int = MOST_IN_MEMORY
) -> Manifest:
    """Writes a manifest as one Parquet file; returns it as `load` will find it.

    A list of more than `most_in_memory` samples is written in partitions to a folder beside the file, unless it lies in
    partitions already or `group_rows`, samples of a row group for `load_group`, are given.
    """
    if len(manifest) > most_in_memory and not group_rows and isinstance(manifest.table, pa.Table):
        batches = manifest.table.to_batches(max_chunksize=1 << 16)
        tables = (pa.Table.from_batches([batch]) for batch in batches)
        manifest = replace(manifest, table=_in_partitions(tables, where, manifest.fingerprint))
    table = manifest.table
    about = {
        "format": _FORMAT if isinstance(table, Partitions) else 2,
        "root": manifest.root,
        "classes": manifest.classes,
        "fingerprint": manifest.fingerprint,
        "notes": manifest.notes,
        "looks": asdict(manifest.looks) if manifest.looks else None,
        "decoding": asdict(manifest.decoding),
        "newest": manifest.newest,
    }
    if isinstance(table, Partitions):
        about["partitions"] = {"folder": table.folder, "num_rows": table.num_rows, "file_rows": table.file_rows}
        table = table.header()
    sink = io.BytesIO()
    table = table.replace_schema_metadata({MANIFEST_KEY: json.dumps(about).encode()})
    pq.write_table(table, sink, compression="zstd", row_group_size=group_rows)
    where.write_bytes(sink.getvalue())
    return manifest


def load_group(where: Place, group: int) -> Manifest:
    """Some samples of what `save` wrote with `group_rows`, renumbered from 0, without reading the others.

    Raises FileNotFoundError, or PlaceError if it is something else.
    """
    try:
        with pq.ParquetFile(RangeFile(where, where.stat().size)) as file:
            about = json.loads(file.schema_arrow.metadata[MANIFEST_KEY])
            table = file.read_row_group(group).replace_schema_metadata(None).combine_chunks()
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise PlaceError(f"{where}: is not a manifest of this version ({error}); index the place again") from None
    return _of(table, about)


def load(where: Place) -> Manifest:
    """Reads what `save` wrote. Raises FileNotFoundError, or PlaceError if it is something else."""
    data = where.read_bytes()
    try:
        table = pq.read_table(io.BytesIO(data))
        about = json.loads(table.schema.metadata[MANIFEST_KEY])
        if about["format"] > _FORMAT:
            raise ValueError(about["format"])
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise PlaceError(f"{where}: is not a manifest of this version ({error}); index the place again") from None
    return _of(table.replace_schema_metadata(None).combine_chunks(), about)


def _of(table: pa.Table | Partitions, about: dict[str, Any]) -> Manifest:
    if "partitions" in about:
        table = Partitions.of(table, **about["partitions"])
    found = Manifest(table, about["root"], about["classes"], about["fingerprint"], tuple(about["notes"]))
    found = replace(found, newest=about.get("newest", 0.0))
    if about.get("looks") is None:
        return found
    return replace(found, looks=Looks(**_tuples(about["looks"])), decoding=Decoding(**_tuples(about["decoding"])))


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields as JSON has them, with tuples again where it has lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _load(where: Place) -> Manifest | None:
    try:
        return load(where)
    except StorageUnavailable:
        raise
    except (FileNotFoundError, PlaceError):
        return None
