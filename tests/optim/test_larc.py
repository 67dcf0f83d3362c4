"""LARC against steps worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from swav_ray.optim.larc import LarcSGD


def parameter(*values: float) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor(values, dtype=torch.float64))


def test_two_steps_by_hand() -> None:
    p = parameter(3.0, 4.0)
    optimizer = LarcSGD([p], lr=0.5, momentum=0.9, weight_decay=0.01, trust_coefficient=0.1, eps=1e-8)
    value, velocity = [3.0, 4.0], [0.0, 0.0]
    for gradient in ([1.0, 0.0], [0.5, -2.0]):
        p.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        p_norm, g_norm = math.hypot(*value), math.hypot(*gradient)
        rate = 0.1 * p_norm / (g_norm + 0.01 * p_norm + 1e-8)
        scaled = [rate * (g + 0.01 * v) for g, v in zip(gradient, value, strict=True)]
        velocity = [0.9 * m + s for m, s in zip(velocity, scaled, strict=True)]
        value = [v - 0.5 * m for v, m in zip(value, velocity, strict=True)]
        assert p.tolist() == pytest.approx(value, rel=1e-14)


def test_a_zero_parameter_takes_the_plain_gradient_without_decay() -> None:
    p = parameter(0.0, 0.0)
    p.grad = torch.tensor([1.0, 2.0], dtype=torch.float64)
    LarcSGD([p], lr=0.1, weight_decay=0.5).step()
    assert p.tolist() == pytest.approx([-0.1, -0.2])


def test_a_zero_gradient_moves_nothing() -> None:
    p = parameter(1.0, 2.0)
    p.grad = torch.zeros(2, dtype=torch.float64)
    LarcSGD([p], lr=0.1, weight_decay=0.5).step()
    assert p.tolist() == [1.0, 2.0]


def test_a_dropped_gradient_leaves_the_parameter_alone_and_the_others_not() -> None:
    frozen, other = parameter(1.0), parameter(1.0)
    other.grad = torch.ones(1, dtype=torch.float64)
    LarcSGD([frozen, other], lr=0.1).step()
    assert frozen.item() == 1.0
    assert other.item() < 1.0
