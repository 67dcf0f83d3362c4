"""IDX files of the MNIST family, gzipped or not: arrays of grey or colour pixels and a file of labels beside them."""

from __future__ import annotations

import functools
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from swav_ray.data.formats.listing import Listing
from swav_ray.data.formats.names import split_word, splits_of
from swav_ray.data.formats.rows import Rows, RowStream
from swav_ray.storage.place import Place, PlaceError, StorageUnavailable

_UNSIGNED_BYTE = 0x08
_ROWS = 1 << 16  # of a manifest that are made at a time


def index_idx(listing: Listing) -> RowStream:
    """Rows of a listing of IDX files: ``train-*`` is split train, ``t10k-*`` is test, labels from the label files."""
    names = [name for table in listing.files.tables() for name in table["name"].to_pylist()]
    images = [name for name in names if re.search(r"images[-.]idx\d-ubyte", name)]
    if not images:
        raise PlaceError(f"{listing.place}: has IDX label files but no images-idx3-ubyte file")
    images_of.cache_clear()  # the place may have changed since this process last read it
    parts = []
    for name, split in zip(images, splits_of([split_word(name) for name in images]), strict=True):
        count = len(images_of(listing.place, name))
        parts.append(_File(name, count, _labels_beside(listing.place, name, names, count), split))
    top = max((int(part.labels.max()) for part in parts if part.labels is not None and part.count), default=-1)

    def tables() -> Iterator[pa.Table]:
        for part in parts:
            for start in range(0, part.count, _ROWS):
                yield part.rows(start, min(start + _ROWS, part.count))

    return RowStream(sum(part.count for part in parts), tables, [str(label) for label in range(top + 1)])


@dataclass(frozen=True, eq=False)
class _File:
    """The images of a file, and their labels (count,) uint8 if there are any."""

    name: str
    count: int
    labels: np.ndarray | None
    split: int

    def rows(self, start: int, end: int) -> pa.Table:
        return Rows(
            uri=pa.array([self.name] * (end - start), pa.string()),
            row=np.arange(start, end, dtype=np.int32),
            label=None if self.labels is None else self.labels[start:end].astype(np.int32),
            split=np.full(end - start, self.split, np.int8),
        ).table()


def _labels_beside(where: Place, images: str, names: Sequence[str], count: int) -> np.ndarray | None:
    wanted = re.sub(r"images([-.])idx\d", r"labels\1idx1", images).removesuffix(".gz")
    found = next((name for name in names if name.removesuffix(".gz") == wanted), None)
    if found is None:
        return None
    labels = _parse(f"{where}/{found}", _unpacked(where / found))
    if labels.shape != (count,):
        raise PlaceError(f"{where}/{found}: has {labels.size:,} labels for the {count:,} images of {images}")
    return labels


def read_idx(root: Place, name: str, rows: Sequence[int]) -> list[np.ndarray | Exception]:
    """The images of these rows as uint8 (H, W, 3), grey repeated; for a row that does not exist, an exception."""
    try:
        images = images_of(root, name)
    except StorageUnavailable:
        raise
    except (PlaceError, FileNotFoundError) as error:
        return [error] * len(rows)
    out: list[np.ndarray | Exception] = []
    for row in rows:
        if row < len(images):
            out.append(np.ascontiguousarray(np.broadcast_to(images[row], (*images.shape[1:3], 3))))
        else:
            out.append(EOFError(f"{root}/{name}: has no image {row}: the file is shorter than when it was indexed"))
    return out


@functools.lru_cache(maxsize=4)
def images_of(root: Place, name: str) -> np.ndarray:
    """The images of a file, uint8 (N, H, W, 1 or 3). Cached by the process: a gzip has no random access."""
    path = root / name
    if root.is_local and not name.endswith(".gz"):
        array = _parse(str(path), np.memmap(path.local_path, np.uint8, "r"))
    else:
        array = _parse(str(path), _unpacked(path))
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[3] not in (1, 3):
        raise PlaceError(f"{path}: has shape {array.shape}; images are (N, H, W) or (N, H, W, 3)")
    return array


def _unpacked(path: Place) -> np.ndarray:
    data = path.read_bytes()
    if path.uri.endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (EOFError, zlib.error, OSError) as error:
            raise PlaceError(f"{path}: is a damaged gzip ({error}); copy it anew") from None
    return np.frombuffer(data, np.uint8)


def _parse(what: str, data: np.ndarray) -> np.ndarray:
    """The array of an IDX file: two zero bytes, the type, the number of dimensions, each as big-endian int32."""
    if len(data) < 4 or bytes(data[:2]) != b"\0\0":
        raise PlaceError(f"{what}: is not an IDX file (it does not begin with two zero bytes)")
    kind, dimensions = int(data[2]), int(data[3])
    if kind != _UNSIGNED_BYTE:
        raise PlaceError(f"{what}: holds values of type {kind:#04x}; only unsigned bytes (0x08) are images or labels")
    start = 4 + 4 * dimensions
    shape = tuple(int(n) for n in np.frombuffer(bytes(data[4:start]), ">i4"))
    size = int(np.prod(shape, dtype=np.int64))
    if len(shape) != dimensions or len(data) - start < size:
        raise PlaceError(f"{what}: is cut short: {max(0, len(data) - start):,} bytes of {size:,}; copy it anew")
    return data[start : start + size].reshape(shape)
