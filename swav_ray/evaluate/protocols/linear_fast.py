"""A linear classifier on cached features, solved exactly: for machines without a GPU, beside the published protocol.

Not the published protocol, which trains on random crops for 100 epochs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.results.judged import Given, Judged, of_labels
from swav_ray.evaluate.results.protocol import Protocol, accuracy

_REGULARISATION = (0.01, 0.1, 1.0, 10.0, 100.0)  # scikit-learn's C
_ITERATIONS = 3000  # at most; far more than features of a network need
_HELD_OUT = 0.1  # of the train split, to choose the regularisation by
PROTOCOL = Protocol(
    name="linear-fast",
    version=1,
    settings={
        "classifier": "multinomial logistic regression, L2",
        "features": "standardised by the train split",
        "C": list(_REGULARISATION),
        "C chosen by": f"a {_HELD_OUT:.0%} part of the train split, stratified, seed 0",
        "iterations": _ITERATIONS,
    },
    source="swav_ray; scikit-learn's LogisticRegression (L-BFGS) on the pooled features of centre crops",
)


def run(given: Given) -> Judged:
    """Top-1 and, from ten classes on, top-5 accuracy."""
    train, val = given.train, given.val
    if len(np.unique(train.labels)) < 2:
        raise EvaluationError(f"--train {train.place}: has one class; a classifier needs two")
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train.features)
    features, queries = scaler.transform(train.features), scaler.transform(val.features)

    # Each fit starts at the last one's solution: weak regularisation takes many times as many iterations from zero.
    solver = LogisticRegression(max_iter=_ITERATIONS, warm_start=True)

    def fit(rows: np.ndarray, c: float) -> LogisticRegression:
        return solver.set_params(C=c).fit(features[rows], train.labels[rows])

    chosen = _choose(train.labels, features, fit)
    classifier = LogisticRegression(C=chosen, max_iter=_ITERATIONS).fit(features, train.labels)
    probabilities = classifier.predict_proba(queries)
    predicted = classifier.classes_[probabilities.argmax(axis=1)]
    figures = {"top-1": accuracy(predicted == val.labels)}
    if len(classifier.classes_) >= 10:
        best = classifier.classes_[np.argsort(-probabilities, axis=1)[:, :5]]
        figures["top-5"] = accuracy((best == val.labels[:, None]).any(axis=1))
    return of_labels(given, PROTOCOL.name, figures, predicted, [f"C = {chosen:g} was chosen"])


def _choose(labels: np.ndarray, features: np.ndarray, fit: Any) -> float:
    """The regularisation that does best on a part of the train split; the middle one if classes are too small."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(labels))
    if np.bincount(labels)[np.unique(labels)].min() < 2 or round(_HELD_OUT * len(labels)) < len(np.unique(labels)):
        return 1.0
    learn, judge = train_test_split(rows, test_size=_HELD_OUT, stratify=labels, random_state=0)
    scores = [float((fit(learn, c).predict(features[judge]) == labels[judge]).mean()) for c in _REGULARISATION]
    return _REGULARISATION[int(np.argmax(scores))]
