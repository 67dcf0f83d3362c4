"""kNN's settings, from one pass, and what a small train split leaves out."""

from __future__ import annotations

import pytest
import torch

from swav_ray.evaluate.knn import knn_top1
from swav_ray.evaluate.protocols import knn
from tests.evaluate.protocols.given import given, split


def test_every_setting_is_that_of_its_own_pass() -> None:
    made = given()
    judged = knn.run(made)
    assert list(judged.figures) == [
        "top-1, k 20, T 0.07",
        "top-1, k 10, T 0.07",
        "top-1, k 100, T 0.07",
        "top-1, k 200, T 0.07",
        "top-1, k 200, T 0.1",
    ]
    tensors = [
        torch.from_numpy(x) for x in (made.train.features, made.train.labels, made.val.features, made.val.labels)
    ]
    for name, (k, temperature) in zip(judged.figures, knn._SETTINGS, strict=True):
        expected = 100 * knn_top1(*tensors, k=k, temperature=temperature)
        assert judged.figures[name].value == pytest.approx(expected)
    assert sum(judged.correct.values()) == round(judged.figures["top-1, k 20, T 0.07"].value / 100 * 200)


def test_fewer_images_than_any_k_use_all_of_them() -> None:
    judged = knn.run(given(train=split(8, 1)))
    assert list(judged.figures) == ["top-1, k 8, T 0.07"]
    assert judged.notes == ["k 10, 20, 100, 200 left out: the train split has 8 images"]
