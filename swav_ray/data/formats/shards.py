"""Parquet shards with an image column: bytes, or the {bytes, path} struct of public data sets.

Shards that `import` wrote say in their footer where each image's bytes lie, so a sample is one range read in any order.
Of other shards the row group is the smallest piece that can be read: `read_row_groups` reads each once per call.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from swav_ray.data.formats.classes import Words
from swav_ray.data.formats.group_cache import GroupCache
from swav_ray.data.formats.listing import Listing
from swav_ray.data.formats.names import LABEL_COLUMNS, TEST, TRAIN, split_files, split_word
from swav_ray.data.formats.rows import Rows, RowStream
from swav_ray.data.formats.spooled import WORD, labelled
from swav_ray.data.indexing.temporary import Spool
from swav_ray.one_line import one_line
from swav_ray.storage.counters import counters
from swav_ray.storage.place import Place, PlaceError, StorageUnavailable
from swav_ray.storage.prefetch import prefetched
from swav_ray.storage.ranges import RangeFile, in_order

RANGES_KEY = b"swav_ray.image_ranges"  # footer entry: base64 of int64 little-endian (rows, 2), offset and length
CONTENTS_KEY = b"swav_ray.image_contents"  # footer entry: base64 of uint64 little-endian (rows,), as in contents.py
IMPORT_FILE = "_import.json"  # beside the shards that `import` writes: how many there will be

_IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes", "content", "data")
_AT_A_TIME = 8  # shards that are opened
_LARGE_GROUP = 2 << 20  # bytes read for one sample above which `index` gives advice


def index_shards(listing: Listing, progress: Callable[[int], None] | None = None) -> RowStream:
    """Rows of a listing of Parquet shards, file after file, in each in the order of its rows."""
    _require_whole_import(listing.place, listing.files.num_rows)
    drop_cache()  # the place may have changed since this process last read it
    rows, words = Spool(), Words()
    names: list[str] = []
    notes: tuple[str, ...] = ()
    files = split_files(listing.files)
    for part in prefetched(lambda file: _index_shard(listing.place, *file), files, at_a_time=_AT_A_TIME):
        column = pa.nulls(len(part.uri), pa.string()) if part.label is None else part.label.cast(pa.string())
        are_numbers = part.label is None or pa.types.is_integer(part.label.type)
        words.add(column.unique().to_pylist(), are_numbers=are_numbers)
        rows.add(replace(part, label=None).table().append_column(WORD, column))
        names, notes = max(names, part.classes, key=len), notes or part.notes
        if progress is not None:
            progress(rows.num_rows)
    return labelled(rows, words.as_labels(names), notes)


def _require_whole_import(where: Place, shards: int) -> None:
    """An import that has not finished would pass for a smaller data set."""
    try:
        wanted = sum(json.loads((where / IMPORT_FILE).read_bytes())["shards"].values())
    except (FileNotFoundError, ValueError, KeyError, AttributeError):
        return
    if shards < wanted:
        raise PlaceError(
            f"{where}: has {shards:,} of the {wanted:,} shards of an import; run the import again to finish"
        )


def _index_shard(root: Place, name: str, size: int, split: int) -> Rows:
    """Rows of one shard; ``label`` is the column as it is, numbers or names, or None."""
    path = root / name
    file = open_shard(path, size)
    schema, metadata = file.schema_arrow, file.metadata
    image = _image_column(path, schema)
    count = metadata.num_rows
    found: dict[str, Any] = {"uri": pa.array([name] * count, pa.string()), "split": np.full(count, split, np.int8)}
    notes: tuple[str, ...] = ()
    ranges = (metadata.metadata or {}).get(RANGES_KEY)
    if ranges is not None:
        pairs = np.frombuffer(base64.b64decode(ranges), "<i8").reshape(-1, 2)
        found |= {"offset": pairs[:, 0], "length": pairs[:, 1]}
        if (contents := metadata.metadata.get(CONTENTS_KEY)) is not None:  # shards of earlier versions have none
            found["content"] = np.frombuffer(base64.b64decode(contents), "<u8")
    else:
        groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        found["row_group"] = np.repeat(np.arange(len(groups), dtype=np.int32), groups)
        found["row"] = np.concatenate([np.arange(rows, dtype=np.int32) for rows in groups] or [np.empty(0, np.int32)])
        _require_bytes(path, metadata, image)
        notes = _note_large_groups(path, metadata, image)
    has_splits = "split" in schema.names and _is_words(schema.field("split").type)
    wanted = [c for c in (_label_column(schema), "split" if has_splits else None) if c]
    columns = file.read(columns=wanted) if wanted else pa.table({})
    if has_splits:
        words = [split_word(word or "") for word in columns["split"].cast(pa.string()).to_pylist()]
        found["split"] = np.array([TEST if word == "test" else TRAIN for word in words], np.int8)
    if _label_column(schema):
        found["label"] = _whole(columns[_label_column(schema)])
    return Rows(**found, classes=_class_names(metadata.metadata or {}, _label_column(schema)), notes=notes)


def _require_bytes(path: Place, metadata: pq.FileMetaData, image: str) -> None:
    """Hugging Face's library also writes paths alone, to files that lie elsewhere."""
    columns = [_column(metadata, group, image) for group in range(metadata.num_row_groups)]
    nulls = [column.statistics.null_count for column in columns if column.is_stats_set]
    if columns and len(nulls) == len(columns) and sum(nulls) == metadata.num_rows:
        raise PlaceError(
            f"{path}: none of its {metadata.num_rows:,} rows has bytes in {image}; if its images are files, point at "
            "their folder, else write the data set with its images embedded"
        )


def _note_large_groups(path: Place, metadata: pq.FileMetaData, image: str) -> tuple[str, ...]:
    largest = max(
        (_column(metadata, group, image).total_compressed_size for group in range(metadata.num_row_groups)), default=0
    )
    if largest < _LARGE_GROUP:
        return ()
    return (
        f"{path}: each image of a shuffled epoch costs a read of its row group, up to {largest / (1 << 20):.0f} MiB; "
        "`python -m swav_ray.data import` makes shards that are read image by image",
    )


def _image_column(path: Place, schema: pa.Schema) -> str:
    """The column, ``image`` or ``image.bytes``, that holds encoded images."""
    fitting = [field.name for field in schema if _leaf(field) is not None]
    named = [name for name in _IMAGE_COLUMNS if name in fitting]
    structs = [name for name in fitting if pa.types.is_struct(schema.field(name).type)]
    chosen = named or structs or fitting
    if len(chosen) == 1 or named:
        return str(_leaf(schema.field(chosen[0])))
    seen = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise PlaceError(
        f"{path}: {'no column' if not chosen else 'more than one column'} could hold images among {seen}; "
        "name one `image`, of binary or of struct<bytes: binary, path: string>"
    )


def _leaf(field: pa.Field) -> str | None:
    if pa.types.is_struct(field.type):
        index = field.type.get_field_index("bytes")
        return f"{field.name}.bytes" if index >= 0 and _is_binary(field.type.field(index).type) else None
    return field.name if _is_binary(field.type) else None


def _is_binary(kind: pa.DataType) -> bool:
    kind = _values(kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _label_column(schema: pa.Schema) -> str | None:
    def fits(kind: pa.DataType) -> bool:
        kind = _values(kind)
        return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or _is_words(kind)

    return next((name for name in LABEL_COLUMNS if name in schema.names and fits(schema.field(name).type)), None)


def _whole(labels: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Labels as they are, or as int64 if they are truths or floats; None if floats have fractions, as no labels do.

    A table in which some label was missing has floats for all of them.
    """
    if pa.types.is_boolean(labels.type):
        return labels.cast(pa.int64())
    if not pa.types.is_floating(labels.type):
        return labels
    try:
        return pc.if_else(pc.is_nan(labels), None, labels).cast(pa.int64())
    except pa.ArrowInvalid:
        return None


def _values(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_words(kind: pa.DataType) -> bool:
    kind = _values(kind)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _class_names(metadata: dict[bytes, bytes], label: str | None) -> list[str]:
    """Label names from the footer entry of Hugging Face's library, which our own shards have too."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[label]["names"]]
    except (KeyError, TypeError, ValueError):
        return []


def open_shard(path: Place, size: int, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """A shard ready to read. Raises PlaceError if it is damaged."""
    source = path.uri if path.is_local else pa.PythonFile(RangeFile(path, size), mode="r")
    try:
        return pq.ParquetFile(source, metadata=metadata, pre_buffer=True)
    except pa.ArrowInvalid as error:
        raise PlaceError(f"{path}: is not a Parquet file or is cut short ({one_line(error)}); copy it anew") from None


@functools.lru_cache(maxsize=1024)
def footer(path: Place) -> tuple[int, pq.FileMetaData, str]:
    """Size, metadata and image column of a shard; cached, since every read needs it."""
    size = path.stat().size
    file = open_shard(path, size)
    return size, file.metadata, _image_column(path, file.schema_arrow)


def _column(metadata: pq.FileMetaData, group: int, name: str) -> pq.ColumnChunkMetaData:
    chunks = (metadata.row_group(group).column(i) for i in range(metadata.num_columns))
    return next(chunk for chunk in chunks if chunk.path_in_schema == name)


def read_row_groups(root: Place, names: Sequence[str], at: Sequence[tuple[int, int]]) -> Iterator[bytes | Exception]:
    """The images at (row group, row) of the files of those names, in order; on S3 the next ones are under way.

    Every row group is read once, whatever the order.
    """
    wanted: dict[tuple[str, int], list[int]] = {}
    for position, (name, (group, _)) in enumerate(zip(names, at, strict=True)):
        wanted.setdefault((name, group), []).append(position)

    def run(job: tuple[str, int]) -> list[bytes | Exception]:
        try:
            column = _images(root / job[0], job[1])
        except StorageUnavailable:
            raise
        except (OSError, ValueError) as error:
            return [error] * len(wanted[job])
        rows = [at[position][1] for position in wanted[job]]
        found = [column[row].as_py() if row < len(column) else None for row in rows]
        return [ValueError(f"{root}/{job[0]}: row has no image bytes") if data is None else data for data in found]

    answers = map(run, wanted) if root.is_local else prefetched(run, list(wanted))
    return in_order(list(wanted.values()), answers)


def _images(path: Place, group: int) -> pa.ChunkedArray:
    cached = _group_cache().get((path, group))
    if cached is not None:
        return cached
    size, metadata, name = footer(path)
    try:
        table = open_shard(path, size, metadata).read_row_group(group, columns=[name], use_threads=False)
    except (pa.ArrowInvalid, IndexError) as error:
        raise OSError(f"{path}: row group {group} cannot be read ({one_line(error)})") from None
    column = table.column(0)
    if pa.types.is_struct(column.type):
        column = pa.chunked_array([chunk.field("bytes") for chunk in column.chunks])
    if path.is_local:
        counters().add("bytes_read", _column(metadata, group, name).total_compressed_size)
    _group_cache().put((path, group), column)
    return column


@functools.cache
def _group_cache() -> GroupCache:
    return GroupCache()


def drop_cache() -> None:
    """Drops all footers and row groups that this process has read."""
    footer.cache_clear()
    _group_cache.cache_clear()
