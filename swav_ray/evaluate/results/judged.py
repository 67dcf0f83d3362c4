"""What a protocol is given, and what it finds out, before it is written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from swav_ray.data.manifest import Manifest
from swav_ray.evaluate.features.labelled import Labelled
from swav_ray.evaluate.results.protocol import Figure
from swav_ray.weights.backbone import Backbone


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """What a protocol judges by.

    Attributes:
        train, val: frozen features of two splits.
        backbone: that made them, on the CPU.
        device: to compute on.
        manifest: of the place of `val`.
        crops: centre crops of samples of `val`, (N, S, S, 3) uint8, for the few protocols that look at images; zeros
            for an unreadable one.
    """

    train: Labelled
    val: Labelled
    backbone: Backbone
    device: torch.device
    manifest: Manifest
    crops: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """What a protocol says.

    Attributes:
        figures: by name; the first is the one to compare by.
        picture: a PNG.
        correct: whether each image of `val` was right by the first figure, by sample id; empty if it counts no images.
        draws: the first figure on images drawn anew, see `protocol.draws_of`; empty if it has none.
        notes: lines for people.
    """

    figures: Mapping[str, Figure]
    picture: bytes
    correct: Mapping[int, bool] = field(default_factory=dict)
    draws: Sequence[float] = ()
    notes: Sequence[str] = ()


def of_labels(
    given: Given, name: str, figures: Mapping[str, Figure], predicted: np.ndarray, notes: list[str]
) -> Judged:
    """What a classifier says: right or wrong by sample id, and a picture of the classes.

    Args:
        predicted: the label of each image of `val`, (N,).
    """
    from swav_ray.evaluate.results.pictures import per_class  # matplotlib takes a second to import

    val = given.val
    title = f"{name}: {next(iter(figures.values())).text()}, {given.backbone.origin.place}"
    return Judged(
        figures=figures,
        picture=per_class(val.labels, predicted, val.classes, title),
        correct=dict(zip(val.ids.tolist(), (predicted == val.labels).tolist(), strict=True)),
        notes=notes,
    )
