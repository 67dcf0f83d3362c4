"""What few labels are worth: a linear SVM a class from 1 to 96 of its images, several draws of each, as on VOC07."""

from __future__ import annotations

import numpy as np

from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.one_versus_all import COSTS, DRAWS, SHOTS, LowShot, low_shot, normalise
from swav_ray.evaluate.protocols import svm
from swav_ray.evaluate.results.judged import Given, Judged
from swav_ray.evaluate.results.protocol import Figure, Protocol

_T = 2.776445  # Student's t of a 95% interval with DRAWS - 1 degrees of freedom
_ALIKE = ("classifier", "features", "weight of a class's images", "images with only difficult objects of a class")
PROTOCOL = Protocol(
    name="svm-low-shot",
    version=1,
    settings={
        **{name: svm.PROTOCOL.settings[name] for name in _ALIKE},
        "k": list(SHOTS),
        "draws": DRAWS,
        "images of a draw": "k of the class and k for each other class without it",
        "costs": list(COSTS),
        "cost chosen by": "mean of the draws on the validation split, as the public benchmark code does",
    },
    source="Goyal et al. 2019 and its public benchmark code: SVMs from few labelled images",
)


def run(given: Given) -> Judged:
    """Mean average precision (interpolated area) for each number of labelled images a class.

    Raises:
        EvaluationError: a class has no image in the train split, or too few are without it.
    """
    train, val = given.train, given.val
    targets = svm.targets_of(train)
    svm.check_classes(train, targets)
    found = low_shot(normalise(train.features), targets, normalise(val.features), svm.targets_of(val))
    if not found:
        raise EvaluationError(
            f"--train {train.place}: has too few images without some class; low-shot needs one for each other class"
        )
    left_out = [k for k in SHOTS if k not in {one.shots for one in found}]
    notes = [f"costs from {min(one.cost for one in found):g} to {max(one.cost for one in found):g} were best"]
    if left_out:
        named = ", ".join(map(str, left_out))
        notes.append(f"k {named} left out: a class has fewer images, or too few images are without it")
    figures = {f"mAP, interpolated area, k {one.shots}": _figure(one) for one in found}
    return Judged(figures=figures, picture=_picture(given, found), notes=notes)


def _figure(found: LowShot) -> Figure:
    """The mean of the draws with its 95% interval over draws."""
    value = 100 * float(np.mean(found.values))
    half = 100 * _T * float(np.std(found.values, ddof=1)) / len(found.values) ** 0.5
    return Figure(value=value, low=value - half, high=value + half)


def _picture(given: Given, found: list[LowShot]) -> bytes:
    from swav_ray.evaluate.results.precision_pictures import per_shots  # matplotlib takes a second to import

    draws = {one.shots: [100 * value for value in one.values] for one in found}
    return per_shots(draws, f"svm-low-shot: {given.backbone.origin.place}")
