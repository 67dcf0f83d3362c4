"""Average precision of ranked images, class by class: the 11 points of VOC 2007, and the area of later years.

Targets are `label_sets.PRESENT`, `ABSENT` and `IGNORED`; ignored images of a class are neither found nor missed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from swav_ray.data.labels.sets import IGNORED, PRESENT

AveragePrecision = Callable[[np.ndarray, np.ndarray], float]
"""Of scores (images,) and which of the images are of the class (images,) bool, with at least one: 0 to 1."""
_POINTS = 11
_ROUNDING = 1e-9  # a recall of 3/10 reaches 0.3, whatever either is in binary


def precision_recall(scores: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of the images above each distinct score, highest first.

    Args:
        scores: (images,). present: (images,) bool, at least one of them true.

    Returns:
        Two arrays (distinct scores,).
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of each run of equal scores
    found = np.cumsum(present[order])[last]
    return found / (last + 1), found / found[-1]


def eleven_points(scores: np.ndarray, present: np.ndarray) -> float:
    """Mean over recalls of 0, 0.1, ... 1 of the best precision at that recall or above (Everingham et al., 2010)."""
    precision, recall = precision_recall(scores, present)
    levels = np.linspace(0, 1, _POINTS)
    best = best_from(precision)
    # Recall ends at 1, so every level is reached.
    return float(best[np.searchsorted(recall, levels - _ROUNDING)].mean())


def interpolated_area(scores: np.ndarray, present: np.ndarray) -> float:
    """Area under the best precision at a recall or above: VOC from 2010 on, and the public VOC07 SVM benchmarks."""
    precision, recall = precision_recall(scores, present)
    return float((best_from(precision) * np.diff(recall, prepend=0.0)).sum())


def area(scores: np.ndarray, present: np.ndarray) -> float:
    """Area under the precision at each recall itself, as scikit-learn and torchmetrics have it."""
    precision, recall = precision_recall(scores, present)
    return float((precision * np.diff(recall, prepend=0.0)).sum())


def best_from(precision: np.ndarray) -> np.ndarray:
    """The best precision at each place of a curve or later."""
    return np.maximum.accumulate(precision[::-1])[::-1]


def of_classes(average_precision: AveragePrecision, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """An average precision of each class, nan for a class of which no image is.

    Args:
        average_precision: one of those above.
        scores: (images, classes). targets: (images, classes).

    Returns:
        (classes,) float64, 0 to 1.
    """
    values = np.full(targets.shape[1], np.nan)
    for column in range(targets.shape[1]):
        judged = targets[:, column] != IGNORED
        present = targets[judged, column] == PRESENT
        if present.any():
            values[column] = average_precision(scores[judged, column], present)
    return values
