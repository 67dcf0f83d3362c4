"""The path that an image had before it went into a shard, for people: shards of `import` and of public data sets."""

from __future__ import annotations

import base64
import contextlib
import functools

import numpy as np
import pyarrow as pa

from swav_ray.data.formats.shards import RANGES_KEY, footer, open_shard
from swav_ray.storage.place import Place


def original_path(shard: Place, *, offset: int, row_group: int, row: int) -> str | None:
    """The path beside an image's bytes, or None if the shard has none or cannot be read.

    Args:
        offset: of the image in the file, -1 if it is known by its row. row_group, row: of the image, -1 each if it is
            known by its offset.
    """
    with contextlib.suppress(OSError, ValueError, LookupError, pa.ArrowInvalid):
        if offset >= 0:
            row_group, row = _row_at(shard)[offset]
        path = _paths(shard, row_group)[row].as_py()
        return str(path) if path else None
    return None


@functools.lru_cache(maxsize=8)
def _row_at(shard: Place) -> dict[int, tuple[int, int]]:
    """Row group, and row in it, of the image at each offset."""
    _, metadata, _ = footer(shard)
    offsets = np.frombuffer(base64.b64decode(metadata.metadata[RANGES_KEY]), "<i8").reshape(-1, 2)[:, 0]
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    rows = [(group, row) for group, size in enumerate(sizes) for row in range(size)]
    return dict(zip(offsets.tolist(), rows, strict=True))


@functools.lru_cache(maxsize=64)
def _paths(shard: Place, row_group: int) -> pa.ChunkedArray:
    """The column of paths of a row group: a few kilobytes, whatever its images hold."""
    size, metadata, image = footer(shard)
    column = f"{image.removesuffix('.bytes')}.path"
    table = open_shard(shard, size, metadata).read_row_group(row_group, columns=[column])
    return pa.chunked_array([chunk.field("path") for chunk in table.column(0).chunks])
