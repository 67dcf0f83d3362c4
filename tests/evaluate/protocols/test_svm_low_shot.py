"""A figure for each number of labelled images, with an interval over draws."""

from __future__ import annotations

import numpy as np
import pytest

from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.protocols.svm_low_shot import run
from tests.evaluate.protocols.given import given, label_sets


def test_there_is_a_figure_for_each_number_that_there_are_images_for() -> None:
    judged = run(given(label_sets(60, 1), label_sets(50, 2)))
    assert list(judged.figures) == [f"mAP, interpolated area, k {k}" for k in (1, 2, 4, 8)]
    assert judged.notes[-1].startswith("k 16, 32, 64, 96 left out: ")
    figures = list(judged.figures.values())
    assert figures[0].value < figures[-1].value
    for figure in figures:
        assert figure.low < figure.value < figure.high
    assert judged.picture.startswith(b"\x89PNG")


def test_too_few_images_without_a_class_are_told() -> None:
    train = label_sets(20, 1)
    train.targets[:, 2] = 1
    train.targets[:2, 2] = 0  # two without it, and three other classes
    with pytest.raises(EvaluationError, match="--train split 1: has too few images without some class"):
        run(given(train, label_sets(20, 2)))
    train.targets[:, 1] = np.zeros(20)
    with pytest.raises(EvaluationError, match="--train split 1: has no image of 1 of its classes"):
        run(given(train, label_sets(20, 2)))
