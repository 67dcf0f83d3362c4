"""The exact linear classifier is scikit-learn's own, and chooses its regularisation without the validation split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from swav_ray.evaluate.protocols import linear_fast
from tests.evaluate.protocols.given import given, split


def test_it_is_scikit_learns_classifier_on_standardised_features() -> None:
    made = given()
    judged = linear_fast.run(made)
    c = float(judged.notes[0].split()[2])
    scaler = StandardScaler().fit(made.train.features)
    oracle = LogisticRegression(C=c, max_iter=3000).fit(scaler.transform(made.train.features), made.train.labels)
    expected = oracle.score(scaler.transform(made.val.features), made.val.labels)
    assert judged.figures["top-1"].value == pytest.approx(100 * expected)
    assert "top-5" not in judged.figures  # of four classes


def test_the_choice_does_not_look_at_the_validation_split() -> None:
    made = given()
    shuffled = replace(made.val, labels=np.random.default_rng(0).permutation(made.val.labels))
    assert linear_fast.run(made).notes == linear_fast.run(replace(made, val=shuffled)).notes


def test_ten_classes_have_a_top_5_and_tiny_classes_no_choice() -> None:
    judged = linear_fast.run(given(split(400, 1, classes=10), split(200, 2, classes=10)))
    assert judged.figures["top-5"].value > judged.figures["top-1"].value
    tiny = linear_fast.run(given(split(4, 1, classes=2), split(20, 2, classes=2)))
    assert tiny.notes == ["C = 1 was chosen"]
