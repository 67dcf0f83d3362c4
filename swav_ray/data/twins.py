"""Finds byte-identical images among local files, where no hash and no ETag tells them: by reading as little as can be.

Files of one size are compared by their last kilobytes, which differ in nearly all that are not equal, and those that
agree there are read whole. Knows nothing of splits: whoever asks says which images may be equal to which.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from swav_ray.data.contents import content_of
from swav_ray.data.manifest import Manifest
from swav_ray.data.sources import read_samples
from swav_ray.storage.place import place

MOST = 200_000  # images that are read, in part: minutes on the slowest of disks
_TAIL = 4096  # bytes
_READ_TOGETHER = 512  # samples


def compared(manifest: Manifest, first: np.ndarray, second: np.ndarray) -> tuple[Manifest, str]:
    """The manifest with the contents of local images that may be in both of two sets, and a note if they are too many.

    What is on S3, and images whose size the list does not say, are left as they are.

    Args:
        first, second: sample ids, in any order; the same ones twice to compare a set with itself.
    """
    if not place(manifest.root).is_local:
        return manifest, ""
    lengths = manifest.table["length"].to_numpy()
    contents = manifest.contents
    unknown = lengths > 0 if contents is None else (lengths > 0) & (contents == 0)
    open_ids = [ids[unknown[ids]] for ids in (first, second)]
    candidates = _alike(lengths, *open_ids)
    if len(candidates) > MOST:
        return manifest, (
            f"{len(candidates):,} images have the size of another one, which are too many to compare before a run; "
            f"`python -m swav_ray.data check {manifest.root}` does, and runs then know"
        )
    tails = np.zeros(len(manifest), np.uint64)
    tails[candidates] = _contents(_ends(manifest, candidates))
    keys = tails ^ lengths.astype(np.uint64)
    candidates = _alike(keys, *(ids[tails[ids] != 0] for ids in open_ids))
    contents = np.zeros(len(manifest), np.uint64)
    contents[candidates] = _contents(manifest.take(candidates))
    return manifest.with_contents(contents), ""


def _alike(keys: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Sample ids, ascending, of either set whose key is that of another sample, of the other set if they differ."""
    if np.array_equal(first, second):
        values, counts = np.unique(keys[first], return_counts=True)
        shared = values[counts > 1]
    else:
        shared = np.intersect1d(keys[first], keys[second])
    both = np.union1d(first, second)
    return both[np.isin(keys[both], shared)]


def _ends(manifest: Manifest, ids: np.ndarray) -> Manifest:
    """These samples as if each were its last bytes alone."""
    part = manifest.take(ids)
    offsets, lengths = (part.table[name].to_numpy() for name in ("offset", "length"))
    tails = np.minimum(lengths, _TAIL)
    columns = {"offset": np.maximum(offsets, 0) + lengths - tails, "length": tails}
    table = part.rows(np.arange(len(part)))
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.int64()))
    return replace(part, table=table)


def _contents(part: Manifest) -> np.ndarray:
    """(N,) uint64 of every sample of a manifest; 0 for one that cannot be read."""
    found = np.zeros(len(part), np.uint64)
    for start in range(0, len(part), _READ_TOGETHER):
        ids = np.arange(start, min(start + _READ_TOGETHER, len(part)))
        for position, sample in zip(ids, read_samples(part, ids), strict=True):
            if not isinstance(sample, Exception):
                found[position] = content_of(sample)
    return found
