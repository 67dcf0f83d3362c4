"""Two splits that fit each other, and what is told of those that do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.features.labelled import check
from tests.evaluate.protocols.given import label_sets, split


def test_splits_that_fit_need_no_note() -> None:
    assert check(split(40, 1), split(30, 2)) == []
    assert check(label_sets(40, 1), label_sets(30, 2)) == []


def test_a_split_of_which_nothing_can_be_read_is_told_with_a_reason() -> None:
    empty = replace(split(0, 1), unreadable=["a.jpg: truncated", "b.jpg: empty"])
    with pytest.raises(EvaluationError, match=r"--train split 1: none of its 2 labelled images can be read; a\.jpg: "):
        check(empty, split(9, 2))
    with pytest.raises(EvaluationError, match=r"--val split 1: none of its 2 images can be read; a\.jpg: truncated"):
        check(split(9, 2), empty, labelled=False)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_a_network_that_diverged(wrong: float) -> None:
    bad = split(30, 2)
    bad.features[7, 3] = wrong
    with pytest.raises(EvaluationError, match="--val split 2: some features are not finite: the network has diverged"):
        check(split(40, 1), bad)


def test_images_that_cannot_be_read_and_classes_that_are_not_judged_are_noted() -> None:
    train, val = split(40, 1), split(30, 2)
    known = val.labels != 2
    few = replace(val, ids=val.ids[known], features=val.features[known], labels=val.labels[known])
    few = replace(few, unreadable=["a.jpg: truncated"])
    assert check(train, few) == [
        "1 images of split 2 cannot be read and are left out: a.jpg: truncated",
        "--val split 2: has no image of 1 of the 4 classes: class 2",
    ]
    with pytest.raises(EvaluationError, match="--val split 1: 1 of its classes have no image in --train: class 2"):
        check(few, train)
    assert len(check(few, train, labelled=False)) == 1


def test_classes_of_label_sets_are_those_that_some_image_has() -> None:
    train, val = label_sets(40, 1), label_sets(30, 2)
    train.targets[:, 3] = -1
    with pytest.raises(EvaluationError, match="--val split 2: 1 of its classes have no image in --train: class 3"):
        check(train, val)
    val.targets[:, 3] = 0
    assert check(train, val) == []
