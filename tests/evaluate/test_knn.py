"""Weighted kNN against counting by hand and against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from swav_ray.evaluate import knn
from swav_ray.evaluate.knn import knn_predict, knn_top1


def at_angles(*degrees: float) -> torch.Tensor:
    """Unit vectors of the plane."""
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def blobs(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 5, (count,), generator=generator)
    return centers[labels] + 1.5 * torch.randn(count, 16, generator=generator), labels


def test_weights_are_exponential_in_the_cosine_similarity():
    # One neighbour at 10 degrees against two at 40: exp(.985/T) against 2 exp(.766/T) crosses at T = .316.
    bank, labels, query = at_angles(10, 40, -40), torch.tensor([0, 1, 1]), at_angles(0)
    crossing = (math.cos(math.radians(10)) - math.cos(math.radians(40))) / math.log(2)
    for temperature, winner in [(0.07, 0), (crossing * 0.99, 0), (crossing * 1.01, 1), (10.0, 1)]:
        assert knn_predict(bank, labels, query, k=3, temperature=temperature).item() == winner


def test_length_of_features_does_not_matter():
    (bank, labels), (queries, _) = blobs(100, 1), blobs(40, 2)
    expected = knn_predict(bank, labels, queries, k=7, temperature=0.07)
    scaled = knn_predict(bank * torch.rand(100, 1).add(0.1), labels, queries * 1000, k=7, temperature=0.07)
    assert torch.equal(expected, scaled)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (20, 0.07), (20, 0.5), (200, 1.0)])
def test_agrees_with_scikit_learn(k, temperature):
    (bank, bank_labels), (queries, query_labels) = blobs(300, 1), blobs(200, 2)
    oracle = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda distance: np.exp((1 - distance) / temperature)
    ).fit(bank.double().numpy(), bank_labels.numpy())
    expected = oracle.predict(queries.double().numpy())
    assert np.array_equal(knn_predict(bank, bank_labels, queries, k=k, temperature=temperature).numpy(), expected)
    top1 = knn_top1(bank, bank_labels, queries, query_labels, k=k, temperature=temperature)
    assert top1 == pytest.approx((expected == query_labels.numpy()).mean(), abs=1e-12)


def test_answers_do_not_depend_on_the_chunks(monkeypatch):
    (bank, labels), (queries, _) = blobs(300, 1), blobs(101, 2)
    whole = knn_predict(bank, labels, queries, k=9, temperature=0.07)
    monkeypatch.setattr(knn, "_SIMILARITIES", 1000)  # three queries at a time
    assert torch.equal(knn_predict(bank, labels, queries, k=9, temperature=0.07), whole)
    monkeypatch.setattr(knn, "_SIMILARITIES", 1)  # less than one row: one query at a time
    assert torch.equal(knn_predict(bank, labels, queries, k=9, temperature=0.07), whole)


def test_of_labels_with_equal_votes_the_smaller_wins():
    bank = at_angles(0, 0, 0, 0)
    assert knn_predict(bank, torch.tensor([3, 1, 3, 1]), at_angles(5), k=4, temperature=0.07).item() == 1


def test_low_temperature_neither_overflows_nor_loses_the_nearest():
    (bank, labels), (queries, _) = blobs(50, 1), blobs(20, 2)
    nearest = knn_predict(bank, labels, queries, k=1, temperature=0.07)
    assert torch.equal(knn_predict(bank, labels, queries, k=50, temperature=1e-6), nearest)


def test_half_precision_and_small_integer_labels_are_taken():
    (bank, labels), (queries, _) = blobs(50, 1), blobs(20, 2)
    half = knn_predict(bank.bfloat16(), labels.to(torch.uint8), queries.bfloat16(), k=5, temperature=0.07)
    assert half.dtype == torch.int64
    assert (half == knn_predict(bank, labels, queries, k=5, temperature=0.07)).float().mean() > 0.8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 4}, "k = 4: must be between 1 and the 3 images of the bank"),
        ({"k": 0}, "k = 0"),
        ({"temperature": 0.0}, "temperature = 0.0: must be above 0"),
        ({"bank": at_angles(0, 1)}, "needs \\(N, D\\), \\(N,\\) and \\(M, D\\)"),
        ({"bank_labels": torch.tensor([0, -1, 2])}, "label -1"),
        ({"queries": torch.empty(0, 2), "query_labels": torch.empty(0)}, "at least one"),
        ({"query_labels": torch.tensor([0, 1])}, "1 queries with 2 labels"),
    ],
)
def test_misuse_is_told_in_one_line(changes, message):
    arguments = {
        "bank": at_angles(0, 1, 2),
        "bank_labels": torch.tensor([0, 1, 2]),
        "queries": at_angles(0),
        "query_labels": torch.tensor([0]),
        "k": 3,
        "temperature": 0.07,
    }
    with pytest.raises(ValueError, match=message):
        knn_top1(**(arguments | changes))


def test_features_that_are_not_finite_are_a_backbone_that_diverged():
    bank = at_angles(0, 1, math.nan)
    with pytest.raises(FloatingPointError, match="the backbone has diverged; a lower optim"):
        knn_top1(bank, torch.tensor([0, 1, 2]), at_angles(0), torch.tensor([0]), k=3)


def test_a_bank_in_blocks_gives_the_same_answers_for_every_setting(monkeypatch):
    (bank, labels), (queries, _) = blobs(300, 1), blobs(101, 2)
    settings = [(1, 0.07), (9, 0.07), (200, 0.1)]
    whole = knn.knn_predictions(bank, labels, queries, settings)
    monkeypatch.setattr(knn, "_BLOCK", 64 * 16)  # the largest k needs several blocks
    monkeypatch.setattr(knn, "_QUERIES", 30)
    blocks = knn.knn_predictions(bank, labels, queries, settings)
    for (k, temperature), predicted in whole.items():
        assert torch.equal(blocks[k, temperature], predicted)
        assert torch.equal(knn_predict(bank, labels, queries, k=k, temperature=temperature), predicted)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_bank_that_lies_elsewhere_than_the_queries_gives_the_same_answers(monkeypatch):
    (bank, labels), (queries, _) = blobs(300, 1), blobs(101, 2)
    monkeypatch.setattr(knn, "_BLOCK", 64 * 16)
    on_cpu = knn_predict(bank, labels, queries, k=9, temperature=0.07)
    assert torch.equal(knn_predict(bank, labels, queries.cuda(), k=9, temperature=0.07).cpu(), on_cpu)
