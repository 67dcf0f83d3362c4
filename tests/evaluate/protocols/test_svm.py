"""Mean average precision of one SVM a class, on images of several labels and of one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from swav_ray.evaluate.average_precision import eleven_points, of_classes
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.features.labelled import Labelled
from swav_ray.evaluate.one_versus_all import normalise, scores_of
from swav_ray.evaluate.protocols import svm
from tests.evaluate.protocols.given import given, split


def sets(images: int, seed: int) -> Labelled:
    """Features that are sums of the centres of their classes."""
    one = split(images, seed)
    targets = (np.random.default_rng(seed).random((images, 4)) < 0.35).astype(np.int8)
    centers = np.random.default_rng(0).normal(size=(4, 10))
    noise = 1.5 * np.random.default_rng(seed + 100).normal(size=(images, 10))
    features = (targets @ centers + noise).astype(np.float32)
    return replace(one, features=features, labels=np.full(images, -1), targets=targets)


def test_figures_are_those_of_the_scores_with_intervals_around_them() -> None:
    train, val = sets(90, 1), sets(80, 2)
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


def test_few_labels_add_a_figure_for_each_number_that_there_are_images_for() -> None:
    judged = svm.run(given(sets(60, 1), sets(50, 2)), few_labels=True)
    names = [name for name in judged.figures if name.startswith("low-shot")]
    assert names == ["low-shot mAP, k 1", "low-shot mAP, k 2", "low-shot mAP, k 4", "low-shot mAP, k 8"]
    assert judged.notes[-1].startswith("low-shot k 16, 32, 64, 96 left out: ")
    values = [judged.figures[name].value for name in names]
    assert values[0] < values[-1]
    assert judged.figures[names[0]].low < values[0] < judged.figures[names[0]].high


def test_the_published_figure_stands_beside_those_of_voc07() -> None:
    figures = svm._figures(np.random.default_rng(0).random((50, 2)), np.ones((50, 2), np.int8), published=True)
    assert [figure.published for figure in figures.values()] == [88.9, 88.9, None]
    names = sorted(svm._VOC_CLASSES)
    assert len(names) == 20
    voc = replace(sets(8, 1), classes=names)
    assert not svm._is_voc07(voc)
    assert svm._is_voc07(replace(voc, ids=np.arange(5011)))


def test_a_class_that_cannot_be_learned_or_judged_is_named() -> None:
    train, val = sets(60, 1), sets(50, 2)
    train.targets[:, 1] = 0
    with pytest.raises(EvaluationError, match=r"--train split 1: has no image of 1 of its classes, as svm.*: class 1$"):
        svm.run(given(train, val))
    train.targets[:, 1] = 1
    with pytest.raises(EvaluationError, match=r"--train split 1: has no image without 1 of its .*: class 1$"):
        svm.run(given(train, val))
    train.targets[::2, 1] = 0
    val.targets[:, 2] = 0
    judged = svm.run(given(train, val))
    assert "1 classes have no image to judge by and are left out of the means: class 2" in judged.notes
