"""Each signal at the values that its meaning fixes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from swav_ray.health import signals
from swav_ray.loss.sinkhorn import sinkhorn


def test_uniform_codes_have_entropy_ln_k_and_hard_ones_none() -> None:
    uniform, hard = torch.full((2, 5, 8), 1 / 8), F.one_hot(torch.arange(8)[None].expand(2, -1), 8).float()
    assert float(signals.codes_entropy([uniform])) == pytest.approx(math.log(8))
    assert float(signals.codes_entropy([hard])) == 0.0
    assert float(signals.codes_entropy([uniform, hard])) == pytest.approx(math.log(8) / 2)


def test_a_high_epsilon_makes_codes_that_teach_nothing() -> None:
    scores = torch.randn(64, 10, generator=torch.Generator().manual_seed(0)) / 3
    sharp, flat = (sinkhorn(scores, epsilon=epsilon)[None] for epsilon in (0.03, 1.0))
    assert float(signals.codes_entropy([sharp])) < 0.5 * math.log(10)
    assert float(signals.codes_entropy([flat])) > 0.95 * math.log(10)


def test_an_equal_partition_uses_all_codes_and_a_single_code_one_of_them() -> None:
    equal = F.one_hot(torch.arange(40) % 8, 8).float().expand(2, -1, -1)
    one = F.one_hot(torch.zeros(40, dtype=torch.int64), 8).float().expand(2, -1, -1)
    assert float(signals.codes_usage(equal)) == pytest.approx(1.0)
    assert float(signals.codes_usage(one)) == pytest.approx(1 / 8)


def test_few_rows_of_sharp_codes_can_use_no_more_prototypes_than_they_are() -> None:
    few = F.one_hot(torch.arange(6), 1000).float().view(2, 3, 1000)
    assert float(signals.codes_usage(few)) == pytest.approx(1.0)


def test_two_crops_agree_always_by_chance_or_never() -> None:
    codes = F.one_hot(torch.arange(40) % 8, 8).float()
    shifted = F.one_hot((torch.arange(40) + 1) % 8, 8).float()
    one = F.one_hot(torch.zeros(40, dtype=torch.int64), 8).float()
    assert float(signals.code_agreement(torch.stack([codes, codes]))) == pytest.approx(1.0)
    assert float(signals.code_agreement(torch.stack([codes, shifted]))) < 0
    assert float(signals.code_agreement(torch.stack([one, one]))) == 0.0


def test_embeddings_that_are_one_point_have_no_spread_and_rank_one() -> None:
    point = F.normalize(torch.ones(50, 4), dim=1)
    assert float(signals.spread(point)) == pytest.approx(0.0, abs=1e-3)
    assert signals.effective_rank(torch.zeros(50, 4)) == 1.0


def test_embeddings_that_fill_all_directions_have_full_spread_and_rank() -> None:
    axes = torch.cat([torch.eye(4), -torch.eye(4)])
    assert float(signals.spread(axes)) == pytest.approx(1.0)
    assert signals.effective_rank(axes) == pytest.approx(4.0)
    assert signals.effective_rank(axes * torch.tensor([1.0, 0, 0, 0])) == pytest.approx(1.0)


def test_embeddings_that_are_not_finite_have_no_rank() -> None:
    assert math.isnan(signals.effective_rank(torch.full((4, 3), float("nan"))))


def test_usage_counts_the_prototypes_that_are_nearest_to_something() -> None:
    assert signals.usage(torch.arange(40) % 8, 8) == pytest.approx(1.0)
    assert signals.usage(torch.zeros(40, dtype=torch.int64), 8) == pytest.approx(1 / 8)
    assert signals.usage(torch.arange(3), 1000) == pytest.approx(1.0)


def test_gradients_are_those_of_trunk_head_and_prototypes() -> None:
    named = {
        "conv1.weight": torch.tensor([3.0]),
        "layer1.0.conv1.weight": torch.tensor([4.0]),
        "projection_head.0.weight": torch.tensor([2.0]),
        "prototypes.prototypes0.weight": torch.tensor([5.0]),
        "prototypes.prototypes1.weight": torch.tensor([12.0]),
    }
    norms = {part: float(norm) for part, norm in signals.gradient_norms(named).items()}
    assert norms == {"trunk": 5.0, "head": 2.0, "prototypes": 13.0}


def test_duplicates_are_exact_or_near() -> None:
    rows = F.normalize(torch.randn(100, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    assert signals.duplicates(rows) == (0.0, 0.0)
    rows[1] = rows[0]
    rows[3] = F.normalize(rows[2] + 0.05 * rows[50], dim=0)
    exact, near = signals.duplicates(rows)
    assert (exact, near) == (pytest.approx(0.02), pytest.approx(0.04))


def test_duplicates_of_many_prototypes_are_those_of_a_part_compared_with_all() -> None:
    rows = torch.randn(5000, 8, generator=torch.Generator().manual_seed(0))
    rows[2500:] = rows[:2500]
    assert signals.duplicates(rows)[0] == 1.0


def test_drift_is_none_one_or_between() -> None:
    rows = torch.randn(20, 16, generator=torch.Generator().manual_seed(0))
    assert signals.drift(rows, 3 * rows) == pytest.approx(0.0, abs=1e-6)
    assert signals.drift(torch.eye(4), torch.eye(4).roll(1, 0)) == pytest.approx(1.0)
