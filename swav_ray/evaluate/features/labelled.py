"""Features with labels: what every protocol on frozen features is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swav_ray.data.labels.sets import PRESENT
from swav_ray.evaluate.errors import EvaluationError

_EXAMPLES = 5


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images of one split.

    Attributes:
        ids: sample ids, (N,) int64 ascending.
        features: (N, D) float32.
        labels: (N,) int64 from 0; -1 without one, or in place of several.
        classes: names of the labels.
        place: where the images lie, for messages.
        unreadable: a line for each image that could not be read.
        targets: (N, classes) int8 as `LabelSets` has them, if an image may have several labels; else None.
    """

    ids: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    classes: list[str]
    place: str
    unreadable: Sequence[str] = ()
    targets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)


def check(train: Labelled, val: Labelled, *, labelled: bool = True) -> list[str]:
    """Notes on two splits that fit each other; `labelled`: whether labels matter.

    Raises:
        EvaluationError: a split has no image that can be read, features are not finite, or `val` has classes that
            `train` has not.
    """
    for what, split in (("train", train), ("val", val)):
        if not len(split):
            kind, count = "labelled images" if labelled else "images", len(split.unreadable)
            why = f"; {split.unreadable[0]}" if count else ""
            raise EvaluationError(f"--{what} {split.place}: none of its {count} {kind} can be read{why}")
        # By their extremes, which NaN wins: a mask of all numbers would take a quarter of their memory.
        if not (np.isfinite(split.features.max()) and np.isfinite(split.features.min())):
            raise EvaluationError(f"--{what} {split.place}: some features are not finite: the network has diverged")
    if labelled and (unseen := sorted(_shown(val) - _shown(train))):
        names = ", ".join(val.classes[label] for label in unseen[:_EXAMPLES])
        raise EvaluationError(f"--val {val.place}: {len(unseen)} of its classes have no image in --train: {names}")
    notes = [
        f"{len(split.unreadable)} images of {split.place} cannot be read and are left out: "
        f"{'; '.join(split.unreadable[:_EXAMPLES])}"
        for split in (train, val)
        if split.unreadable
    ]
    if labelled and (unjudged := sorted(_shown(train) - _shown(val))):
        names = ", ".join(val.classes[label] for label in unjudged[:_EXAMPLES])
        notes.append(f"--val {val.place}: has no image of {len(unjudged)} of the {len(val.classes)} classes: {names}")
    return notes


def _shown(split: Labelled) -> set[int]:
    """The classes of which some image is."""
    if split.targets is None:
        return set(split.labels.tolist())
    return set(np.flatnonzero((split.targets == PRESENT).any(axis=0)).tolist())
