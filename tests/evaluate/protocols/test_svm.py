"""Mean average precision of one SVM a class, on images of several labels and of one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from swav_ray.evaluate.average_precision import eleven_points, of_classes
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.one_versus_all import normalise, scores_of
from swav_ray.evaluate.protocols import svm
from tests.evaluate.protocols.given import given, label_sets, split


def test_figures_are_those_of_the_scores_with_intervals_around_them() -> None:
    train, val = label_sets(90, 1), label_sets(80, 2)
    val.targets[:10, 3] = -1
    judged = svm.run(given(train, val))
    scores = scores_of(normalise(train.features), train.targets, normalise(val.features)).values
    first = judged.figures["mAP, 11 points"]
    assert first.value == pytest.approx(100 * of_classes(eleven_points, scores, val.targets).mean())
    assert list(judged.figures) == ["mAP, 11 points", "mAP, interpolated area", "mAP, area"]
    for figure in judged.figures.values():
        assert 30 < figure.low < figure.value < figure.high <= 100
        assert figure.published is None
    assert judged.picture.startswith(b"\x89PNG")


def test_images_of_one_label_each_are_classes_that_are_present_or_absent() -> None:
    train, val = (replace(part, features=part.features[:, :10]) for part in (split(60, 1), split(50, 2)))
    one = svm.run(given(train, val))
    wide = [replace(part, targets=np.eye(4, dtype=np.int8)[part.labels]) for part in (train, val)]
    assert one.figures == svm.run(given(*wide)).figures


def test_the_published_figure_stands_beside_those_of_voc07() -> None:
    figures, _ = svm._figures(np.random.default_rng(0).random((50, 2)), np.ones((50, 2), np.int8), published=True)
    assert [figure.published for figure in figures.values()] == [88.9, 88.9, None]
    names = sorted(svm._VOC_CLASSES)
    assert len(names) == 20
    voc = replace(label_sets(8, 1), classes=names)
    assert not svm._is_voc07(voc)
    assert svm._is_voc07(replace(voc, ids=np.arange(5011)))


def test_a_class_that_cannot_be_learned_is_named_and_one_that_cannot_be_judged_left_out() -> None:
    train, val = label_sets(60, 1), label_sets(50, 2)
    train.targets[:, 1] = 0
    with pytest.raises(EvaluationError, match=r"--train split 1: has no image of 1 of its classes, as svm.*: class 1$"):
        svm.run(given(train, val))
    train.targets[:, 1] = 1
    with pytest.raises(EvaluationError, match=r"--train split 1: has no image without 1 of its .*: class 1$"):
        svm.run(given(train, val))
    train.targets[::2, 1] = 0
    val.targets[:, 2] = 0
    scores = scores_of(normalise(train.features), train.targets, normalise(val.features)).values
    values = of_classes(eleven_points, scores, val.targets)
    assert np.isnan(values).tolist() == [False, False, True, False]
    assert svm.run(given(train, val)).figures["mAP, 11 points"].value == pytest.approx(100 * np.nanmean(values))
