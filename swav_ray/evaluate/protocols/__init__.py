"""A file a protocol: what it is (`PROTOCOL`) and one function that judges (`run`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from swav_ray.evaluate.protocols import clusters, knn, label_free, linear_fast
from swav_ray.evaluate.results.judged import Given, Judged
from swav_ray.evaluate.results.protocol import Protocol


@dataclass(frozen=True)
class OnFeatures:
    """A protocol that needs frozen features of two splits. `labels`: whether it needs their labels as well."""

    protocol: Protocol
    run: Callable[[Given], Judged]
    labels: bool = True


ON_FEATURES = {
    "knn": OnFeatures(knn.PROTOCOL, knn.run),
    "linear-fast": OnFeatures(linear_fast.PROTOCOL, linear_fast.run),
    "label-free": OnFeatures(label_free.PROTOCOL, label_free.run, labels=False),
    "clusters": OnFeatures(clusters.PROTOCOL, clusters.run, labels=False),
}
"""Protocols by their names on the command line."""
