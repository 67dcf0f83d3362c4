"""A linear SVM a class on pooled features, judged by mean average precision, as on VOC07."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from swav_ray.data.labels.sets import ABSENT, IGNORED, PRESENT, of_labels
from swav_ray.evaluate.average_precision import (
    AveragePrecision,
    area,
    best_from,
    eleven_points,
    interpolated_area,
    of_classes,
    precision_recall,
)
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.features.labelled import Labelled
from swav_ray.evaluate.one_versus_all import (
    COSTS,
    FOLDS,
    ITERATIONS,
    POSITIVE_WEIGHT,
    Scores,
    normalise,
    scores_of,
)
from swav_ray.evaluate.results.judged import Given, Judged
from swav_ray.evaluate.results.protocol import Figure, Protocol, draws_of, of_draws

_EXAMPLES = 5
_VOC07_IMAGES = 5011  # of trainval
# fmt: off
_VOC_CLASSES = frozenset((
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car",
    "cat", "chair", "cow", "diningtable", "dog", "horse", "motorbike",
    "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
))
# fmt: on
_PUBLISHED = 88.9  # SwAV paper, table 3; reproduced in the VICReg paper, table 2
_MEASURES: dict[str, AveragePrecision] = {
    "mAP, 11 points": eleven_points,
    "mAP, interpolated area": interpolated_area,
    "mAP, area": area,
}
PROTOCOL = Protocol(
    name="svm",
    version=1,
    settings={
        "classifier": f"one LIBLINEAR SVM a class, squared hinge, L2, dual, at most {ITERATIONS} iterations",
        "features": "L2-normalised",
        "weight of a class's images": POSITIVE_WEIGHT,
        "costs": list(COSTS),
        "cost chosen by": f"average precision, {FOLDS}-fold cross-validation, for each class",
        "images with only difficult objects of a class": "ignored for the class",
    },
    source="Goyal et al. 2019 and its public benchmark code; Everingham et al. 2010 (11 points)",
)


def run(given: Given) -> Judged:
    """Mean average precision of the classes.

    Raises:
        EvaluationError: a class has no image in the train split, or no image without.
    """
    train, val = given.train, given.val
    targets, wanted = targets_of(train), targets_of(val)
    check_classes(train, targets)
    scores = scores_of(normalise(train.features), targets, normalise(val.features))
    figures, draws = _figures(scores.values, wanted, published=_is_voc07(train))
    picture = _picture(given, scores.values, wanted, figures)
    return Judged(figures=figures, picture=picture, draws=draws, notes=_notes(scores))


def targets_of(split: Labelled) -> np.ndarray:
    """(images, classes); of images with one label each, that class is present and the others absent."""
    return of_labels(split.labels, len(split.classes)) if split.targets is None else split.targets


def check_classes(train: Labelled, targets: np.ndarray) -> None:
    """Raises EvaluationError if a class has no image to learn it from, or no image without it."""
    for what, value in (("has no image of", PRESENT), ("has no image without", ABSENT)):
        columns = np.flatnonzero(~(targets == value).any(axis=0))
        if len(columns):
            names = ", ".join(train.classes[column] for column in columns[:_EXAMPLES])
            raise EvaluationError(f"--train {train.place}: {what} {len(columns)} of its classes, as svm needs: {names}")


def _is_voc07(train: Labelled) -> bool:
    return set(train.classes) == _VOC_CLASSES and len(train) == _VOC07_IMAGES


def _figures(scores: np.ndarray, wanted: np.ndarray, *, published: bool) -> tuple[dict[str, Figure], list[float]]:
    """Figures by name, and the draws of the first."""
    figures, draws = {}, {}
    for name, measure in _MEASURES.items():
        mean = partial(_mean, measure)
        draws[name] = draws_of(mean, scores, wanted)
        found = of_draws(mean(scores, wanted), draws[name])
        assert found.low is not None
        assert found.high is not None
        beside = _PUBLISHED if published and measure is not area else None
        figures[name] = replace(found, low=max(0.0, found.low), high=min(100.0, found.high), published=beside)
    return figures, draws[next(iter(_MEASURES))].tolist()


def _mean(measure: AveragePrecision, scores: np.ndarray, wanted: np.ndarray) -> float:
    """In percent, over the classes that some image is of; 0 if there is none, as in a draw of a few images."""
    values = of_classes(measure, scores, wanted)
    known = ~np.isnan(values)
    return 100 * float(values[known].mean()) if known.any() else 0.0


def _notes(scores: Scores) -> list[str]:
    notes = [f"costs from {scores.costs.min():g} to {scores.costs.max():g} were chosen"]
    if scores.stopped:
        notes.append(f"{scores.stopped} fits were stopped after {ITERATIONS} iterations, as the public benchmark's are")
    return notes


def _picture(given: Given, scores: np.ndarray, wanted: np.ndarray, figures: dict[str, Figure]) -> bytes:
    from swav_ray.evaluate.results.precision_pictures import per_class  # matplotlib takes a second to import

    name, first = next(iter(figures.items()))
    values = of_classes(_MEASURES[name], scores, wanted)
    curves = {}
    for column in np.flatnonzero(~np.isnan(values)).tolist():
        judged = wanted[:, column] != IGNORED
        found = precision_recall(scores[judged, column], wanted[judged, column] == PRESENT)
        curves[given.val.classes[column]] = best_from(found[0]), found[1]
    named = {given.val.classes[column]: 100 * float(values[column]) for column in np.flatnonzero(~np.isnan(values))}
    return per_class(curves, named, f"svm, {name}: {first.text()}, {given.backbone.origin.place}")
