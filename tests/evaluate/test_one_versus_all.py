"""Linear SVMs of all classes, against scikit-learn's own selection on the same features."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GridSearchCV
from sklearn.svm import LinearSVC

from swav_ray.data.labels.sets import IGNORED
from swav_ray.evaluate import one_versus_all
from swav_ray.evaluate.one_versus_all import COSTS, low_shot, normalise, scores_of


def clouds(images: int, seed: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Features that are sums of the centres of their classes, with noise, and targets."""
    centers = np.random.default_rng(9).normal(size=(classes, 12))
    generator = np.random.default_rng(seed)
    targets = (generator.random((images, classes)) < 0.4).astype(np.int8)
    return normalise(targets @ centers + 0.8 * generator.normal(size=(images, 12))), targets


def test_features_have_length_one_whatever_they_had() -> None:
    normalised = normalise(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32))
    assert normalised.dtype == np.float64
    np.testing.assert_allclose(normalised, [[0.6, 0.8], [0, 0]], atol=1e-5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_scores_and_costs_are_scikit_learns_own() -> None:
    (features, targets), (queries, _) = clouds(90, 1), clouds(40, 2)
    targets[::7, 1] = IGNORED
    found = scores_of(features, targets, queries)
    for column in range(3):
        known = targets[:, column] != IGNORED
        svm = LinearSVC(class_weight={1: 2, 0: 1}, dual=True, max_iter=2000, random_state=0)
        search = GridSearchCV(svm, {"C": list(COSTS)}, scoring="average_precision", cv=3)
        search.fit(features[known], targets[known, column])
        assert found.costs[column] == search.best_params_["C"]
        np.testing.assert_array_equal(found.values[:, column], search.decision_function(queries))


def test_processes_change_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    (features, targets), (queries, _) = clouds(60, 1), clouds(20, 2)
    alone = scores_of(features, targets, queries)
    monkeypatch.setattr(one_versus_all, "_WORTH_PROCESSES", 0)
    together = scores_of(features, targets, queries)
    np.testing.assert_array_equal(alone.values, together.values)
    assert alone.stopped == together.stopped


def test_a_class_of_one_image_is_learned_without_choosing_a_cost() -> None:
    features, targets = clouds(30, 1)
    targets[:, 0] = 0
    targets[4, 0] = 1
    assert scores_of(features, targets, features).costs[0] == 1.0


def test_low_shot_draws_differ_and_more_images_are_worth_more() -> None:
    (features, targets), (queries, wanted) = clouds(200, 1), clouds(200, 2)
    few, many = low_shot(features, targets, queries, wanted, shots=(1, 32), draws=3)
    assert (few.shots, many.shots) == (1, 32)
    assert len(set(few.values)) == 3
    assert np.mean(many.values) > np.mean(few.values) + 0.05
    again = low_shot(features, targets, queries, wanted, shots=(32,), draws=3)
    assert again == [many]


def test_low_shot_learns_from_k_images_of_the_class_and_k_for_each_other() -> None:
    targets = clouds(200, 1)[1][:, 0]
    rows = one_versus_all._draw(targets, 5, 3, np.random.default_rng(0))
    assert len(set(rows.tolist())) == 15
    assert targets[rows].sum() == 5
    assert low_shot(*clouds(20, 1), *clouds(20, 2), shots=(64,), draws=2) == []


def test_separable_classes_are_found_completely() -> None:
    targets = np.eye(3, dtype=np.int8)[np.arange(60) % 3]
    features = normalise(targets + 0.01)
    values = scores_of(features, targets, features).values
    assert [average_precision_score(targets[:, c], values[:, c]) for c in range(3)] == [1, 1, 1]
