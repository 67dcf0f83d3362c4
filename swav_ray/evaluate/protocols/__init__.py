"""A file a protocol: what it is (`PROTOCOL`) and one function that judges (`run`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from swav_ray.evaluate.judged import Judged
from swav_ray.evaluate.labelled import Labelled
from swav_ray.evaluate.protocol import Protocol
from swav_ray.evaluate.protocols import knn, linear_fast


@dataclass(frozen=True)
class OnFeatures:
    """A protocol that needs the features of two labelled splits and nothing else."""

    protocol: Protocol
    run: Callable[[Labelled, Labelled, torch.device], Judged]


ON_FEATURES = {
    "knn": OnFeatures(knn.PROTOCOL, knn.run),
    "linear-fast": OnFeatures(linear_fast.PROTOCOL, linear_fast.run),
}
"""Protocols by their names on the command line."""
