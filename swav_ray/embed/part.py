"""One part of the embeddings: its images read, embedded and written, so that each image has one row at any moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from swav_ray.data.formats.names import TEST
from swav_ray.data.manifest import Manifest
from swav_ray.embed.errors import EmbedError
from swav_ray.embed.network import Assigned, Network
from swav_ray.embed.output import How, Output
from swav_ray.features.embedding import crops_of
from swav_ray.storage.place import place

_INSIDE = ("offset", "row_group", "row")  # of a manifest: where in its file an image is


@dataclass(frozen=True)
class Crops:
    """The images of a part.

    Attributes:
        part: its number. manifest: of its images.
        crops: (N, S, S, 3) uint8. reasons: why an image could not be read, or None.
        again: another try may read more of them.
    """

    part: int
    manifest: Manifest
    crops: np.ndarray
    reasons: Sequence[str | None]
    again: bool


def read_crops(output: Output, part: int, threads: int) -> Crops:
    """Reads and crops the images of a part.

    Raises:
        EmbedError: the place of the images has vanished. StorageUnavailable: it does not answer.
    """
    manifest = output.manifest(part)
    crops, reasons, again = crops_of(manifest, np.arange(len(manifest)), output.how.image_size, threads)
    if again and None not in reasons and not place(output.root).exists():
        raise EmbedError(
            f"{output.root}: its images have vanished; what is embedded stays in {output.folder}, and the same command "
            "resumes once they are back"
        )
    return Crops(part, manifest, crops, reasons, again)


def write(output: Output, read: Crops, network: Network, device: torch.device) -> None:
    """Embeds a part and writes it. At any moment in between the part is whole, or counts as missing.

    Raises:
        EmbedError: embeddings are not finite, or too large for float16. OSError: a file cannot be written.
    """
    kept = np.array([reason is None for reason in read.reasons])
    rows = np.flatnonzero(kept)
    start = output.embeddings.span(read.part).start
    table = _table(output.how, read.manifest, start, rows, *_embedded(output.how, read.crops[rows], network, device))
    if kept.all():
        output.embeddings.write(read.part, table)
        output.unreadable.delete(read.part)
        return
    bad = np.flatnonzero(~kept)
    names = uris(read.manifest)
    listed = pa.table(
        {
            "sample_id": pa.array(start + bad, pa.int64()),
            "uri": pa.array([names[row] for row in bad], pa.string()),
            "reason": pa.array([read.reasons[row] for row in bad.tolist()], pa.string()),
        }
    )
    # Until the embeddings are there, the part is one to try again, so that no image is in neither list.
    output.unreadable.write(read.part, listed, again=True)
    output.embeddings.write(read.part, table)
    if not read.again:
        output.unreadable.write(read.part, listed)


def uris(manifest: Manifest) -> list[str]:
    """Where each image is: its file and, inside a file, its offset or row; as `Manifest.uri_of`, for all of them."""
    root = manifest.root.rstrip("/")
    columns = [manifest.table[name].to_pylist() for name in ("uri", *_INSIDE)]
    found = []
    for name, *inside in zip(*columns, strict=True):
        at = [f"{what}={value}" for what, value in zip(_INSIDE, inside, strict=True) if value >= 0]
        found.append(f"{root}/{name}" + (f"#{','.join(at)}" if at else ""))
    return found


def _embedded(how: How, crops: np.ndarray, network: Network, device: torch.device) -> tuple[np.ndarray, list[Assigned]]:
    if not len(crops):
        none = Assigned(np.empty((0, 0), np.int32), np.empty((0, 0), np.float32), np.empty(0, np.float32))
        return np.empty((0, how.dim), np.float32), [none] * len(how.prototypes)
    embeddings, assigned = network.embed(crops, device)
    largest = np.abs(embeddings).max()
    if not np.isfinite(largest):
        raise EmbedError(f"{how.checkpoint}: some embeddings are not finite: the network has diverged")
    if largest > np.finfo(how.dtype).max:
        raise EmbedError(f"--dtype {how.dtype}: an embedding has a value of {largest:.3g}; use --dtype float32")
    return embeddings, assigned


def _table(
    how: How, manifest: Manifest, start: int, rows: np.ndarray, embeddings: np.ndarray, assigned: Sequence[Assigned]
) -> pa.Table:
    """The columns of docs/embed.md, a row for each readable image."""
    names = uris(manifest)
    splits = manifest.table["split"].to_numpy()
    columns: dict[str, pa.Array] = {
        "sample_id": pa.array(start + rows, pa.int64()),
        "uri": pa.array([names[row] for row in rows], pa.string()),
        "split": pa.array(["test" if splits[row] == TEST else "train" for row in rows], pa.string()),
    }
    if manifest.classes:
        labels = manifest.labels[rows]
        columns["label"] = pa.array([manifest.classes[i] if i >= 0 else None for i in labels], pa.string())
    columns["embedding"] = _lists(embeddings.reshape(len(rows), how.dim).astype(how.dtype), how.dim)
    for number, (one, prototypes) in enumerate(zip(assigned, how.prototypes, strict=True), start=1):
        suffix = "" if number == 1 else f"_{number}"
        columns |= {f"{name}{suffix}": column for name, column in cluster_columns(one, prototypes, how.soft).items()}
    return pa.table(columns)


def cluster_columns(assigned: Assigned, clusters: int, soft: bool) -> dict[str, pa.Array]:
    """cluster, probability and distance; if `soft`, the best clusters and their probabilities too."""
    rows = len(assigned.distance)
    # A part without readable images has no column to take.
    best = assigned.clusters[:, 0] if rows else np.empty(0, np.int32)
    likely = assigned.probabilities[:, 0] if rows else np.empty(0, np.float32)
    columns = {"cluster": pa.array(best), "probability": pa.array(likely), "distance": pa.array(assigned.distance)}
    if soft:
        top = min(3, clusters)
        columns["top_clusters"] = _lists(assigned.clusters, top)
        columns["top_probabilities"] = _lists(assigned.probabilities, top)
    return columns


def _lists(values: np.ndarray, length: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), length)
