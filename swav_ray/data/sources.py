"""From sample ids to bytes, whatever the place's format. A bad sample is returned as its exception, never raised."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from swav_ray.data.formats.idx import read_idx
from swav_ray.data.formats.original_paths import original_path
from swav_ray.data.formats.shards import read_row_groups
from swav_ray.storage.cached_place import CachedPlace, read_cached_spans
from swav_ray.storage.node_cache import NodeCache
from swav_ray.storage.place import Place, place
from swav_ray.storage.ranges import read_spans

if TYPE_CHECKING:
    from swav_ray.data.samples import Manifest

Sample = bytes | np.ndarray | Exception


def name_of(manifest: Manifest, sample_id: int) -> str:
    """What people know a sample by: the path that it had before an import, else where it is now. May read a footer."""
    (row,) = manifest.rows(np.array([sample_id])).select(["uri", "offset", "row_group", "row"]).to_pylist()
    if row["uri"].endswith((".parquet", ".pq")):
        shard = place(manifest.root) / row.pop("uri")
        original = original_path(shard, **row)
        if original is not None:
            return f"{original} (in {shard})"
    return manifest.uri_of(sample_id)


def read_samples(manifest: Manifest, sample_ids: np.ndarray, cache: NodeCache | None = None) -> Iterator[Sample]:
    """What training decodes, in the order of ``sample_ids`` (rows of this manifest), each as soon as it has been read.

    Encoded bytes; or a decoded image, uint8 (H, W, 3), from IDX files; or the exception of that sample: a missing file,
    a short read. Neighbouring byte ranges are read in one request and a Parquet row group once; on S3 the next samples
    are read while the caller works on one, and what is in this node's ``cache`` is not asked for. Bytes of an object on
    S3 that was written after the place was listed are `ChangedBytes`, but for Parquet without ranges. Raises only
    `StorageUnavailable`: the storage as a whole cannot be used.
    """
    rows = manifest.rows(sample_ids)
    root = place(manifest.root)
    if cache is not None and not root.is_local:  # local files are on a disk already
        root = CachedPlace(root.uri, cache, manifest.fingerprint, manifest.newest)
    row_group, row = rows["row_group"].to_numpy(), rows["row"].to_numpy()
    in_shard, in_idx = row_group >= 0, (row_group < 0) & (row >= 0)
    spans = functools.partial(_spans, newest=manifest.newest)
    turns: list[Iterator[Sample]] = [iter(())] * rows.num_rows
    for chosen, read in ((in_shard, _shards), (in_idx, _idx), (~in_shard & ~in_idx, spans)):
        positions = np.flatnonzero(chosen)
        if len(positions):
            samples = read(root, rows.take(positions))
            for position in positions:
                turns[position] = samples
    for turn in turns:
        yield next(turn)


def _shards(root: Place, rows: pa.Table) -> Iterator[Sample]:
    at = list(zip(rows["row_group"].to_pylist(), rows["row"].to_pylist(), strict=True))
    return read_row_groups(root, rows["uri"].to_pylist(), at)


def _spans(root: Place, rows: pa.Table, newest: float) -> Iterator[Sample]:
    spans = list(zip(range(len(rows)), rows["offset"].to_pylist(), rows["length"].to_pylist(), strict=True))
    if isinstance(root, CachedPlace):
        return read_cached_spans(root, rows["uri"].to_pylist(), spans)
    return read_spans(root, rows["uri"].to_pylist(), spans, newest)


def _idx(root: Place, rows: pa.Table) -> Iterator[Sample]:
    out: list[Sample] = [EOFError("not read")] * len(rows)
    names = np.array(rows["uri"].to_pylist(), object)
    for name in dict.fromkeys(names):
        positions = np.flatnonzero(names == name)
        for position, image in zip(positions, read_idx(root, name, rows["row"].to_numpy()[positions]), strict=True):
            out[position] = image
    return iter(out)
