"""What a trained classifier says: its figures after the last and the best epoch, and its learning curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swav_ray.evaluate.results.judged import Judged
from swav_ray.evaluate.results.protocol import Figure, accuracy

TOP1, TOP5 = "top-1", "top-5"
_CLASSES_FOR_TOP5 = 10


def hits(scores_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Whether each image's label is the first, and among the first five: (B, 2) bool, on the CPU."""
    most = min(5, scores_BC.shape[1])
    best_B5 = scores_BC.topk(most, dim=1).indices
    found_B5 = best_B5 == labels_B[:, None]
    return torch.stack([found_B5[:, 0], found_B5.any(1)], dim=1).cpu()


def shares(right: np.ndarray, images: int, classes: int) -> dict[str, float]:
    """Percent of `images` by name.

    Args:
        right: (2,) how many were right by the first label, and by the first five.
    """
    found = {TOP1: 100 * float(right[0]) / images, TOP5: 100 * float(right[1]) / images}
    return found if classes >= _CLASSES_FOR_TOP5 else {TOP1: found[TOP1]}


def finished(ids: Sequence[int], right: np.ndarray) -> dict[str, Any]:
    """The end of a training as JSON: sample ids of the validation split, and 1 for each that was right, else 0."""
    return {"ids": [int(sample) for sample in ids], "right": [int(one) for one in right]}


def judged(
    finished: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    name: str,
    place: str,
    published: Mapping[str, float],
    classes: int,
    notes: Sequence[str] = (),
) -> Judged:
    """What a training says.

    Args:
        finished: from `finished`. rows: with "epoch", "loss" and the shares of each epoch.
        name: of the protocol. place: of the weights.
        published: the figures of the published weights, by TOP1 and TOP5: of the best epoch, as the published scripts
            report them.
        classes: of the classifier.
    """
    from swav_ray.evaluate.results.curve import learning_curve  # matplotlib takes a second to import

    images = len(finished["ids"])
    best = max(rows, key=lambda row: row[TOP1])
    figures: dict[str, Figure] = {}
    for which, row, of in (("last", rows[-1], {}), ("best", best, published)):
        for top in (TOP1, TOP5):
            if top in row:
                right = np.arange(images) < round(row[top] * images / 100)
                figures[f"{top}, {which} epoch"] = accuracy(right, published=of.get(top))
    title = f"{name}: {TOP1} {figures[f'{TOP1}, last epoch'].text()} after the last epoch"
    picture = learning_curve(rows, TOP1, title, place)
    pairs = zip(finished["ids"], finished["right"], strict=True)
    correct = {sample: bool(right) for sample, right in pairs}
    said = [*notes, f"the best epoch, {best['epoch']} of {rows[-1]['epoch']}, was chosen on the validation split"]
    loss, guess = rows[-1]["loss"], math.log(classes)
    if loss is not None and loss > guess:
        said.append(
            f"the training loss of the last epoch is {loss:.3g}, and ln {classes} = {guess:.3g} is a guess's: the "
            "learning rate is too high for this network's features; lower --lr, or let linear --sweep choose"
        )
    return Judged(figures=figures, picture=picture, correct=correct, notes=said)
