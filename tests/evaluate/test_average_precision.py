"""Average precision: by hand, and as scikit-learn and torchmetrics have it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torchmetrics.functional.classification import multilabel_average_precision

from swav_ray.evaluate.average_precision import area, eleven_points, interpolated_area, of_classes, precision_recall

RANKED = np.array([True, False, True, True, False, False, False, True, False, False])  # best score first
SCORES = np.linspace(3, -3, 10)


def test_precision_and_recall_of_a_ranking() -> None:
    precision, recall = precision_recall(SCORES, RANKED)
    assert precision[:4].tolist() == [1, 1 / 2, 2 / 3, 3 / 4]
    assert recall.tolist() == [0.25, 0.25, 0.5, 0.75, 0.75, 0.75, 0.75, 1, 1, 1]


def test_eleven_points_by_hand() -> None:
    # Recall 0, .1, .2: 1. From .3 to .7: 3/4 (the fourth image). .8, .9 and 1: 4/8.
    assert eleven_points(SCORES, RANKED) == pytest.approx((3 * 1 + 5 * 0.75 + 3 * 0.5) / 11)


def test_the_interpolated_area_by_hand() -> None:
    assert interpolated_area(SCORES, RANKED) == pytest.approx(0.25 * 1 + 0.5 * 0.75 + 0.25 * 0.5)


def test_a_recall_of_three_tenths_reaches_point_three() -> None:
    present = np.array([True] * 3 + [False] * 90 + [True] * 7)
    first = eleven_points(np.arange(100.0)[::-1], present)
    assert first == pytest.approx((4 * 1 + 7 * 0.1) / 11)  # recalls of 0, .1, .2 and .3 at precision 1


def test_images_with_equal_scores_are_found_together() -> None:
    assert eleven_points(np.zeros(4), np.array([True, False, False, False])) == 0.25
    assert interpolated_area(np.zeros(4), np.array([False, False, False, True])) == 0.25


def test_the_area_is_that_of_scikit_learn_and_torchmetrics_and_below_the_interpolated_one() -> None:
    generator = np.random.default_rng(0)
    targets = generator.choice([1, 0, -1], (300, 6), p=[0.2, 0.7, 0.1]).astype(np.int8)
    scores = generator.normal(size=(300, 6)) + (targets == 1)
    ours = of_classes(area, scores, targets)
    wanted = torch.from_numpy(targets).long()
    theirs = multilabel_average_precision(torch.from_numpy(scores), wanted, num_labels=6, average=None, ignore_index=-1)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6)
    known = targets[:, 0] != -1
    assert ours[0] == pytest.approx(average_precision_score(targets[known, 0], scores[known, 0]))
    assert (of_classes(interpolated_area, scores, targets) >= ours).all()


def test_ignored_images_count_for_nothing_and_a_class_without_images_has_no_figure() -> None:
    targets = np.array([[1, 0], [-1, 0], [0, -1], [1, 0]], np.int8)
    scores = np.array([[3.0, 1.0], [9.0, 2.0], [0.0, 3.0], [2.0, 4.0]])
    values = of_classes(eleven_points, scores, targets)
    assert values[0] == 1.0
    assert np.isnan(values[1])
