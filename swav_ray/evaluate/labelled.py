"""Features with labels: what every protocol on frozen features is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swav_ray.evaluate.feature_store import EvaluationError


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images of one split.

    Attributes:
        ids: sample ids, (N,) int64 ascending.
        features: (N, D) float32.
        labels: (N,) int64 from 0; or (N, C) int8 of several labels an image, 1 or 0.
        classes: names of the labels.
        place: where the images lie, for messages.
        unreadable: images that have a label and could not be read.
    """

    ids: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    classes: list[str]
    place: str
    unreadable: int = 0

    def __len__(self) -> int:
        return len(self.ids)


def check(train: Labelled, val: Labelled, *, labelled: bool = True) -> list[str]:
    """Notes on two splits that fit each other; `labelled`: whether labels matter.

    Raises:
        EvaluationError: a split has no image with a label that can be read, or `val` has classes that `train` has not.
    """
    for what, split in (("train", train), ("val", val)):
        if not len(split):
            kind = "labelled images" if labelled else "images"
            raise EvaluationError(f"--{what} {split.place}: none of its {split.unreadable} {kind} can be read")
    if labelled and train.labels.ndim == 1:
        unseen = sorted(set(val.labels.tolist()) - set(train.labels.tolist()))
        if unseen:
            names = ", ".join(val.classes[label] for label in unseen[:5])
            raise EvaluationError(f"--val {val.place}: {len(unseen)} of its classes are not in --train: {names}")
    return [
        f"{split.unreadable} images of {split.place} cannot be read and are left out"
        for split in (train, val)
        if split.unreadable
    ]
