"""The loss against its definition, for any crops, and its gradient in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from swav_ray.loss.swapped_prediction import swapped_prediction


def inputs(crops: int, assigned: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    scores = torch.randn(crops, 5, 7, dtype=torch.float64, requires_grad=True)
    return scores, torch.softmax(torch.randn(assigned, 5, 7, dtype=torch.float64), dim=2)


@pytest.mark.parametrize(("crops", "assign"), [(2, (0, 1)), (4, (0, 1)), (8, (0, 1)), (3, (2,)), (5, (1, 3, 4))])
def test_is_the_mean_cross_entropy_of_every_other_crop(crops: int, assign: tuple[int, ...]) -> None:
    scores, codes = inputs(crops, len(assign))
    expected = torch.zeros((), dtype=torch.float64)
    for code, crop in zip(codes, assign, strict=True):
        for other in set(range(crops)) - {crop}:
            expected += F.cross_entropy(scores[other] / 0.1, code) / (len(assign) * (crops - 1))
    ours = swapped_prediction(scores, codes, crops_for_assign=assign, temperature=0.1)
    assert ours.shape == (5,)
    torch.testing.assert_close(ours.mean(), expected, rtol=1e-12, atol=0)


def test_gradient_agrees_with_finite_differences() -> None:
    scores, codes = inputs(4, 2)
    assert torch.autograd.gradcheck(lambda s: swapped_prediction(s, codes, crops_for_assign=(0, 1)), (scores,))


def test_uniform_scores_cost_ln_k() -> None:
    _, codes = inputs(4, 2)
    loss = swapped_prediction(torch.zeros(4, 5, 7), codes.float(), crops_for_assign=(0, 1))
    torch.testing.assert_close(loss, torch.full((5,), 7.0).log())


def test_half_precision_scores_give_a_float32_loss() -> None:
    scores, codes = inputs(2, 2)
    assert swapped_prediction(scores.half(), codes.float(), crops_for_assign=(0, 1)).dtype == torch.float32
