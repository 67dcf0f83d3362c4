"""Nearest neighbours by cosine, exact, in blocks: whatever the number of embeddings, memory is that of one part."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from swav_ray.data.decoding.decode import UnreadableImage
from swav_ray.embed import output as outputs
from swav_ray.embed.errors import EmbedError
from swav_ray.embed.neighbours.index import by_index
from swav_ray.embed.neighbours.vectors import unit
from swav_ray.embed.network import Network, heads_for
from swav_ray.embed.output import How, Output
from swav_ray.storage.place import Place, place
from swav_ray.weights.backbone import load_backbone

if TYPE_CHECKING:
    from PIL.Image import Image

_QUERIES = 4096  # compared with a part at a time


@dataclass(frozen=True)
class Neighbour:
    """An image near another one. `similarity`: cosine of their embeddings."""

    sample_id: int
    uri: str
    similarity: float


def nearest(output: Output, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest embeddings of a folder to each query.

    Args:
        queries: (Q, D) float32. count: how many.

    Returns:
        Sample ids (Q, count) int64 and cosines (Q, count) float32, nearest first; -1 and -inf if there are fewer.

    Raises:
        EmbedError: a part is missing.
    """
    wanted = torch.from_numpy(unit(queries))
    ids = torch.full((len(wanted), count), -1)
    cosines = torch.full((len(wanted), count), -torch.inf)
    for table in output.blocks(["sample_id", "embedding"]):
        if not table.num_rows:
            continue
        bank = torch.from_numpy(unit(output.vectors(table)))
        names = torch.from_numpy(table["sample_id"].to_numpy().copy())
        for start in range(0, len(wanted), _QUERIES):
            rows = slice(start, start + _QUERIES)
            found = wanted[rows] @ bank.T
            best, at = found.topk(min(count, len(bank)), dim=1)
            both = torch.cat([cosines[rows], best], dim=1)
            cosines[rows], order = both.topk(count, dim=1)
            ids[rows] = torch.cat([ids[rows], names[at]], dim=1).gather(1, order)
    return ids.numpy(), cosines.numpy()


def write_neighbours(output: Output, parts: Sequence[int], count: int) -> None:
    """Writes the nearest images of each image of some parts, itself left out; all parts' queries at once.

    Columns: sample_id, neighbours and similarities, lists of `count` (-1 and -inf if there are fewer images).
    """
    tables = list(output.blocks(["sample_id", "embedding"], parts))
    queries = np.concatenate([output.vectors(table) for table in tables])
    ids, cosines = nearest(output, queries, count + 1)
    start = 0
    for part, table in zip(parts, tables, strict=True):
        rows = slice(start, start + table.num_rows)
        start += table.num_rows
        own = table["sample_id"].to_numpy()
        # Among equal images an image itself need not come first, nor at all.
        others = np.argsort(ids[rows] == own[:, None], axis=1, kind="stable")[:, :count]
        columns = {
            "sample_id": table["sample_id"],
            "neighbours": _lists(np.take_along_axis(ids[rows], others, axis=1), count),
            "similarities": _lists(np.take_along_axis(cosines[rows], others, axis=1), count),
        }
        output.neighbours(count).write(part, pa.table(columns))


def search(
    out: str | Place,
    image: str | os.PathLike[str] | bytes | np.ndarray | Image,
    count: int = 10,
    *,
    exact: bool = False,
) -> list[Neighbour]:
    """The embedded images that are nearest to an image, by cosine of the embeddings.

    Exact, unless there is an index of kind `ivf`.

    Args:
        out: folder of embeddings, local or s3://.
        image: a place, an encoded file's bytes, (H, W, 3) uint8, a PIL image, or (D,) floats: an embedding itself.
        count: at most so many. exact: compare with all embeddings, part by part, even if there is an index.

    Raises:
        EmbedError: the folder holds no embeddings, or of a checkpoint that has changed since. UnreadableImage: the
            image is none. FileNotFoundError: it is not there.
    """
    output = outputs.read(out if isinstance(out, Place) else place(out))
    return search_all(output, [image], count, exact=exact)[0]


def search_all(output: Output, images: Sequence[Any], count: int, *, exact: bool = False) -> list[list[Neighbour]]:
    """The same for several images, each as `search` takes it."""
    arrays = [image for image in images if isinstance(image, np.ndarray) and image.ndim == 1]
    if len(arrays) == len(images):
        queries = np.stack([_checked(array, output.how) for array in arrays])
    else:
        network = network_of(output)
        queries = np.stack([_vector(network, output.how, image) for image in images])
    found = None if exact else by_index(output, queries, count)
    ids, cosines = nearest(output, queries, count) if found is None else found
    names = _uris(output, ids)
    return [
        [Neighbour(i, names[i], float(cosine)) for i, cosine in zip(row.tolist(), near, strict=True) if i >= 0]
        for row, near in zip(ids, cosines, strict=True)
    ]


def network_of(output: Output) -> Network:
    """The network that made embeddings, preprocessing as it did; EmbedError if its file is not what it was."""
    how = output.how
    backbone = load_backbone(how.checkpoint, prefix=how.prefix or None)
    if backbone.origin.sha256 != how.weights:
        raise EmbedError(f"{how.checkpoint}: has changed since it was used here; embed again into another folder")
    # The images' place has its own range of deep pixels, which the network's file does not know.
    decoding = output.manifest(0).decoding
    backbone.preprocess = replace(backbone.preprocess, image_size=how.image_size, decoding=decoding)
    heads = heads_for(backbone.origin.parts, how.checkpoint, layer=how.layer, every=len(how.prototypes) > 1)
    return Network(backbone, heads, how.layer, how.temperature)


def _vector(network: Network, how: How, image: Any) -> np.ndarray:
    """(D,) of one image."""
    if isinstance(image, np.ndarray) and image.ndim == 1:
        return _checked(image, how)
    name = "the image"
    if isinstance(image, (str, os.PathLike)):
        name = os.fspath(image)
        image = place(name).read_bytes() if not Path(name).is_file() else Path(name).read_bytes()
    try:
        embedding = network.embed_image(image)
    except UnreadableImage as error:
        raise EmbedError(f"{name}: {error}") from None
    return embedding.reshape(-1)


def _checked(embedding: np.ndarray, how: How) -> np.ndarray:
    if embedding.shape != (how.dim,):
        raise EmbedError(f"an embedding of {embedding.shape} cannot be searched among those of ({how.dim},)")
    return np.asarray(embedding, np.float32)


def _uris(output: Output, ids: np.ndarray) -> dict[int, str]:
    found = np.unique(ids[ids >= 0])
    parts = np.unique(found // output.how.part_rows).tolist()
    names: dict[int, str] = {}
    for table in output.blocks(["sample_id", "uri"], parts):
        hits = table.filter(pc.is_in(table["sample_id"], pa.array(found)))
        names |= dict(zip(hits["sample_id"].to_pylist(), hits["uri"].to_pylist(), strict=True))
    return names


def _lists(values: np.ndarray, length: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), length)
