"""Which images are in which cluster: sizes, the images nearest to each centre and the least sure ones, twins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from swav_ray.embed.output import Output

SAME = 0.99  # cosine of two prototypes that are taken for one
_COLUMNS = ("cluster", "probability", "distance")


@dataclass(frozen=True)
class Member:
    """An image of a cluster, as the tables have it."""

    sample_id: int
    uri: str
    probability: float
    distance: float


@dataclass(frozen=True)
class Cluster:
    """A cluster, twins of its prototype included.

    Attributes:
        number: of its prototype; the lowest of twins. images: how many.
        nearest: its images nearest to the prototype. borderline: its images of the lowest probability, lowest first.
    """

    number: int
    images: int
    nearest: list[Member]
    borderline: list[Member]


@dataclass(frozen=True)
class Clusters:
    """All clusters of some embeddings.

    Attributes:
        found: those with images, largest first. merged: prototypes that are twins of a lower one, and which.
        sizes: images of each prototype, before twins are merged, (K,). prototypes: (K, E) of unit length.
    """

    found: list[Cluster]
    merged: dict[int, int]
    sizes: np.ndarray
    prototypes: np.ndarray

    @property
    def empty(self) -> int:
        """Prototypes without an image."""
        return int((self.sizes == 0).sum())


def twins(prototypes: np.ndarray) -> dict[int, int]:
    """Each prototype with a cosine above SAME to a lower one that is no twin itself, and which.

    Args:
        prototypes: (K, E) of unit length.
    """
    found: dict[int, int] = {}
    for number, row in enumerate(prototypes):
        near = np.flatnonzero(prototypes[:number] @ row > SAME)
        if firsts := [first for first in near.tolist() if first not in found]:
            found[number] = firsts[0]
    return found


def assigned(output: Output, kmeans: int = 0) -> Iterator[pa.Table]:
    """sample_id, uri, cluster, probability and distance of every image, part by part.

    Args:
        kmeans: of so many clusters by k-means; 0: the prototypes of the first head.
    """
    if not kmeans:
        yield from output.blocks(["sample_id", "uri", *_COLUMNS])
        return
    parts = output.clusters(kmeans)
    for part, table in enumerate(output.blocks(["sample_id", "uri"])):
        own = parts.read(part, _COLUMNS)
        for name in _COLUMNS:
            table = table.append_column(name, own[name])
        yield table


def collect(blocks: Iterator[pa.Table], prototypes: np.ndarray, *, most: int, borderline: int) -> Clusters:
    """Reads all assignments once; memory grows with the number of clusters, not of images.

    Args:
        blocks: as `assigned` gives them. prototypes: (K, E) of unit length.
        most, borderline: images that each cluster keeps of either kind.
    """
    merged = twins(prototypes)
    target = np.array([merged.get(number, number) for number in range(len(prototypes))])
    sizes = np.zeros(len(prototypes), np.int64)
    nearest: dict[int, list[Member]] = {}
    unsure: dict[int, list[Member]] = {}
    for table in blocks:
        raw = table["cluster"].to_numpy()
        sizes += np.bincount(raw, minlength=len(sizes))
        distance, probability = table["distance"].to_numpy(), table["probability"].to_numpy()
        own = target[raw]
        for number in np.unique(own).tolist():
            rows = np.flatnonzero(own == number)
            near = rows[np.argsort(distance[rows], kind="stable")[:most]]
            nearest[number] = sorted(nearest.get(number, []) + _members(table, near), key=lambda m: m.distance)[:most]
            weak = rows[np.argsort(probability[rows], kind="stable")[:borderline]]
            both = sorted(unsure.get(number, []) + _members(table, weak), key=lambda m: m.probability)
            unsure[number] = both[:borderline]
    totals = np.bincount(target, weights=sizes, minlength=len(sizes)).astype(np.int64)
    order = sorted(nearest, key=lambda number: (-totals[number], number))
    found = []
    for number in order:
        shown = {member.sample_id for member in nearest[number]}
        weak_ones = [member for member in unsure[number] if member.sample_id not in shown]
        found.append(Cluster(number, int(totals[number]), nearest[number], weak_ones))
    return Clusters(found, merged, sizes, prototypes)


def table_of(clusters: Clusters) -> pa.Table:
    """A row for each prototype: cluster, images, the twin that it is merged into (itself if none), and its vector."""
    count, dim = clusters.prototypes.shape
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(clusters.prototypes, np.float32).reshape(-1)), dim
    )
    merged = [clusters.merged.get(number, number) for number in range(count)]
    return pa.table(
        {
            "cluster": pa.array(range(count), pa.int32()),
            "images": pa.array(clusters.sizes),
            "merged_into": pa.array(merged, pa.int32()),
            "prototype": vectors,
        }
    )


def _members(table: pa.Table, rows: np.ndarray) -> list[Member]:
    taken = table.take(pa.array(rows))
    columns = (taken[name].to_pylist() for name in ("sample_id", "uri", "probability", "distance"))
    return [Member(*row) for row in zip(*columns, strict=True)]
