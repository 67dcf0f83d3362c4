"""A linear SVM a class on frozen features, as the public VOC07 benchmarks train it (Goyal et al., 2019).

LIBLINEAR through scikit-learn. Knows nothing of where the features come from.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swav_ray.data.labels.sets import ABSENT, IGNORED, PRESENT
from swav_ray.evaluate.average_precision import interpolated_area, of_classes

COSTS = (0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 1000.0)
FOLDS = 3
POSITIVE_WEIGHT = 2
ITERATIONS = 2000
SHOTS = (1, 2, 4, 8, 16, 32, 64, 96)
DRAWS = 5
_DEFAULT_COST = 1.0  # if there are too few images to choose by
_WORTH_PROCESSES = 2**22  # numbers of all classes' features, below which processes take longer to start than to work


@dataclass(frozen=True, eq=False)
class Scores:
    """What the classifiers of all classes say.

    Attributes:
        values: (queries, classes) float64; above 0: present.
        costs: (classes,) that cross-validation chose.
        stopped: fits that had not converged after ITERATIONS.
    """

    values: np.ndarray
    costs: np.ndarray
    stopped: int


@dataclass(frozen=True, kw_only=True)
class LowShot:
    """What k labelled images a class are worth.

    Attributes:
        shots: k. cost: best of COSTS on the images that are judged, as the public benchmarks choose it.
        values: mean average precision of each draw at that cost.
    """

    shots: int
    cost: float
    values: tuple[float, ...]


def normalise(features: np.ndarray) -> np.ndarray:
    """(N, D) to (N, D) float64 of length 1; the small addend is the public code's."""
    wide = np.asarray(features, np.float64)
    return wide / (np.linalg.norm(wide, axis=1, keepdims=True) + 1e-5)


def classifier(cost: float) -> Any:
    """The SVM of one class, labels PRESENT and ABSENT."""
    from sklearn.svm import LinearSVC

    weights = {PRESENT: POSITIVE_WEIGHT, ABSENT: 1}
    return LinearSVC(C=cost, class_weight=weights, dual=True, max_iter=ITERATIONS, random_state=0)


def scores_of(features: np.ndarray, targets: np.ndarray, queries: np.ndarray) -> Scores:
    """Fits every class at the cost that cross-validation on `features` finds best, and scores `queries`.

    Args:
        features: (N, D), queries: (M, D), both normalised.
        targets: (N, classes); each class has a PRESENT and an ABSENT image. IGNORED images take no part in a class.
    """
    tasks = [(features, column, queries) for column in targets.T]
    found = _parallel(features, _of_class, tasks)
    values, costs, stopped = zip(*found, strict=True)
    return Scores(np.stack(values, axis=1), np.array(costs), sum(stopped))


def _of_class(features: np.ndarray, targets: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Scores of one class, its cost, and the number of fits that were stopped."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learn = targets != IGNORED
        chosen = _choose(features[learn], targets[learn])
        scores = classifier(chosen).fit(features[learn], targets[learn]).decision_function(queries)
    return scores, chosen, _stopped(caught)


def _choose(features: np.ndarray, targets: np.ndarray) -> float:
    """The cost with the best average precision in cross-validation."""
    from sklearn.model_selection import cross_val_score

    folds = min(FOLDS, int((targets == PRESENT).sum()), int((targets == ABSENT).sum()))
    if folds < 2:
        return _DEFAULT_COST
    scores = [
        cross_val_score(classifier(cost), features, targets, cv=folds, scoring="average_precision").mean()
        for cost in COSTS
    ]
    return COSTS[int(np.argmax(scores))]


def low_shot(
    features: np.ndarray,
    targets: np.ndarray,
    queries: np.ndarray,
    wanted: np.ndarray,
    *,
    shots: Sequence[int] = SHOTS,
    draws: int = DRAWS,
) -> list[LowShot]:
    """Learns each class from k of its images and k for each other class without it, drawn anew several times.

    Args:
        features, targets, queries: as of `scores_of`. wanted: targets of the queries.
        shots: values of k; those with more images than a class has are left out.
        draws: of each, with seeds 0, 1, ...
    """
    classes = targets.shape[1]
    most = min((targets == PRESENT).sum(axis=0).min(), (targets == ABSENT).sum(axis=0).min() // max(classes - 1, 1))
    found = []
    for k in shots:
        if k > most:
            continue
        tasks = [
            (features[rows], targets[rows, column], queries)
            for draw in range(draws)
            for column in range(classes)
            for rows in [_draw(targets[:, column], k, classes, np.random.default_rng((draw, k, column)))]
        ]
        values = np.array(_parallel(features, _at_all_costs, tasks))  # (draws * classes, costs, queries)
        scores = values.reshape(draws, classes, len(COSTS), -1).transpose(2, 0, 3, 1)
        means = np.array([[np.nanmean(of_classes(interpolated_area, one, wanted)) for one in each] for each in scores])
        best = int(np.argmax(means.mean(axis=1)))
        found.append(LowShot(shots=k, cost=COSTS[best], values=tuple(means[best].tolist())))
    return found


def _draw(targets: np.ndarray, k: int, classes: int, generator: np.random.Generator) -> np.ndarray:
    """Rows of k images of a class and k for each other class of those without it."""
    positive, negative = np.flatnonzero(targets == PRESENT), np.flatnonzero(targets == ABSENT)
    others = k * max(classes - 1, 1)
    chosen = [generator.choice(positive, k, replace=False), generator.choice(negative, others, replace=False)]
    return np.sort(np.concatenate(chosen))


def _at_all_costs(features: np.ndarray, targets: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Scores of one class at each of COSTS, (costs, queries)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.stack([classifier(cost).fit(features, targets).decision_function(queries) for cost in COSTS])


def _stopped(caught: Sequence[warnings.WarningMessage]) -> int:
    from sklearn.exceptions import ConvergenceWarning

    return sum(issubclass(one.category, ConvergenceWarning) for one in caught)


def _parallel(features: np.ndarray, function: Any, tasks: Sequence[tuple[Any, ...]]) -> list[Any]:
    """One result a task. In processes: LIBLINEAR draws from one generator a process, and threads would share it."""
    from sklearn.utils.parallel import Parallel, delayed

    jobs = -1 if features.size * len(tasks) >= _WORTH_PROCESSES else 1
    return list(Parallel(n_jobs=jobs)(delayed(function)(*task) for task in tasks))
