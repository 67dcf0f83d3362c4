"""An index of all embeddings by faiss (Johnson et al., 2017), for many searches in large sets; the extra `faiss`."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swav_ray.embed.errors import EmbedError
from swav_ray.embed.neighbours.vectors import sample, unit
from swav_ray.embed.output import INDEX, Output

if TYPE_CHECKING:
    import faiss

FLAT, IVF = "flat", "ivf"
KINDS = (FLAT, IVF)
_PER_LIST = 64  # images that each list is learned on; faiss asks for at least 39
_PROBED = 32  # lists that a query is compared with


def write_index(output: Output, kind: str) -> None:
    """Writes an index of all embeddings, of unit length.

    Args:
        kind: FLAT: every query is compared with all embeddings, in float32: exact. IVF: with those in the `_PROBED`
            lists whose centres are nearest, in float16.

    Raises:
        EmbedError: faiss is not installed, or a part is missing.
    """
    faiss = _faiss()
    if faiss is None:
        raise EmbedError(f"--index {kind}: needs faiss; pip install 'swav_ray[faiss]'")
    dim, metric = output.how.dim, faiss.METRIC_INNER_PRODUCT
    if kind == FLAT:
        index = faiss.index_factory(dim, "IDMap,Flat", metric)
    else:
        lists = max(1, min(4 * math.isqrt(output.images), output.images // _PER_LIST))
        index = faiss.index_factory(dim, f"IVF{lists},SQfp16", metric)
        index.nprobe = _PROBED
        index.train(sample(output, _PER_LIST * lists))
    for table in output.blocks(["sample_id", "embedding"]):
        if table.num_rows:
            index.add_with_ids(unit(output.vectors(table)), table["sample_id"].to_numpy().copy())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / INDEX
        faiss.write_index(index, str(file))
        (output.folder / INDEX).upload_file(file)


def by_index(output: Output, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """What `nearest` gives, by the index; None if there is none, or faiss is not installed.

    Raises:
        EmbedError: the file is no index of these embeddings.
    """
    faiss = _faiss()
    if faiss is None or not (output.folder / INDEX).is_file():
        return None
    try:
        index = _open(faiss, output)
    except RuntimeError:
        raise EmbedError(f"{output.folder / INDEX}: is no index of faiss; delete it, or embed with --index") from None
    if index.d != output.how.dim:
        raise EmbedError(f"{output.folder / INDEX}: is of other embeddings; delete it, or embed with --index")
    cosines, ids = index.search(unit(queries), count)
    return ids, np.where(ids < 0, -np.inf, cosines).astype(np.float32)


def _open(faiss: Any, output: Output) -> faiss.Index:
    """A local file stays on disk, and the pages that are used come into memory."""
    file = output.folder / INDEX
    if file.is_local:
        return faiss.read_index(str(file.local_path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    return faiss.deserialize_index(np.frombuffer(file.read_bytes(), np.uint8))


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        return None
    return faiss
