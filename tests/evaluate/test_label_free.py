"""RankMe, agreement and information of codes, prototype entropy: against cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from swav_ray.config import EvalConfig
from swav_ray.data import manifest
from swav_ray.data.shapes import write_shapes
from swav_ray.evaluate.label_free import code_agreement, code_information, measure, prototype_entropy, rank_me
from swav_ray.model.swav import SwAVModel
from swav_ray.storage.place import place


def one_hot(labels: torch.Tensor, prototypes: int) -> torch.Tensor:
    """Scores that leave no doubt about the nearest prototype."""
    return torch.nn.functional.one_hot(labels, prototypes).float()


def test_rank_is_the_dimension_of_a_ball_and_one_on_a_line() -> None:
    torch.manual_seed(0)
    ball = torch.linalg.qr(torch.randn(200, 12)).Q
    assert rank_me(ball) == pytest.approx(12, rel=1e-6)
    assert rank_me(ball[:, :1] @ torch.randn(1, 12)) == pytest.approx(1, rel=1e-5)
    assert rank_me(torch.zeros(5, 3)) == 1.0
    # Two singular values, 3 and 1: exp(-(.75 ln .75 + .25 ln .25)).
    assert rank_me(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(math.exp(0.5623351), rel=1e-6)


def test_agreement_is_one_for_equal_codes_and_nought_by_chance() -> None:
    torch.manual_seed(0)
    labels = torch.arange(4000) % 8
    shuffled = labels[torch.randperm(4000)]
    assert code_agreement(one_hot(labels, 8), one_hot(labels, 8)) == pytest.approx(1)
    assert code_agreement(one_hot(labels, 8), one_hot(shuffled, 8)) == pytest.approx(0, abs=0.04)


def test_a_backbone_that_sees_nothing_has_neither_agreement_nor_information() -> None:
    """Both crops of every image have the same scores up to noise: without Sinkhorn they would agree on all."""
    torch.manual_seed(0)
    same = torch.linspace(0, 1, 10).repeat(3000, 1)
    first, second = same + 1e-3 * torch.randn_like(same), same + 1e-3 * torch.randn_like(same)
    assert (first.argmax(1) == second.argmax(1)).all()
    assert code_agreement(first, second) == pytest.approx(0, abs=0.05)
    assert code_information(first, second) == pytest.approx(0, abs=0.01)


def test_information_grows_with_the_prototypes_that_are_told_apart() -> None:
    labels = torch.arange(4096)
    for prototypes in (4, 16):
        scores = one_hot(labels % prototypes, prototypes)
        assert code_information(scores, scores.clone()) == pytest.approx(math.log(prototypes), rel=0.05)


def test_entropy_is_nought_where_one_prototype_takes_all_and_one_where_all_share() -> None:
    assert prototype_entropy(one_hot(torch.zeros(50, dtype=torch.long), 5)) == 0
    assert prototype_entropy(one_hot(torch.arange(50) % 5, 5)) == pytest.approx(1)


def test_a_model_is_measured_the_same_twice_and_left_as_it_was_and_one_that_diverged_is_told(tmp_path: object) -> None:
    write_shapes(place(f"{tmp_path}/shapes"), train=80, test=8, size=32, seed=0, rows_per_shard=40)
    found = manifest.build(f"{tmp_path}/shapes")
    torch.manual_seed(0)
    model = SwAVModel("resnet18", width=0.125, hidden_dim=12, output_dim=8, prototypes=(6,))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = EvalConfig(image_size=32, label_free_images=64)
    first = measure(model, found, found.train_ids(), config, device=torch.device("cpu"))
    assert measure(model, found, found.train_ids(), config, device=torch.device("cpu")) == first
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert 1 <= first["rankme"] <= 64
    assert 0 <= first["prototype_entropy"] <= 1
    assert all(np.isfinite(list(first.values())))
    with torch.no_grad():
        next(model.parameters()).fill_(np.nan)
    with pytest.raises(FloatingPointError, match="the network has diverged; a lower optim"):
        measure(model, found, found.train_ids(), config, device=torch.device("cpu"))
