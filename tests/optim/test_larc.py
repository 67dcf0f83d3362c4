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


def test_a_step_that_must_change_nothing_changes_nothing() -> None:
    p = parameter(3.0, 4.0)
    optimizer = LarcSGD([p], lr=0.5, trust_coefficient=0.1)
    for step, skipped in enumerate((True, False, True)):
        before, momentum = p.tolist(), optimizer.state[p].get("momentum_buffer")
        momentum = [0.0, 0.0] if momentum is None else momentum.tolist()
        p.grad = torch.tensor([math.nan if skipped else 1.0, 1.0], dtype=torch.float64)
        optimizer.found_inf = torch.tensor(float(skipped))
        optimizer.step()
        assert (p.tolist() == before) == skipped, step
        assert (optimizer.state[p]["momentum_buffer"].tolist() == momentum) == skipped, step


def test_norms_that_were_asked_for_are_those_of_the_step() -> None:
    values = []
    for asked in (True, False):
        p, q = parameter(3.0, 4.0), parameter(1.0)
        optimizer = LarcSGD([p, q], lr=0.5, trust_coefficient=0.1)
        for _ in range(2):
            p.grad, q.grad = torch.tensor([2.0, 1.0], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)
            if asked:
                assert optimizer.gradient_norm().item() == pytest.approx(3.0)
            optimizer.step()
        values.append(p.tolist() + q.tolist())
    assert values[0] == values[1]


def test_layout_in_memory_changes_nothing_but_rounding() -> None:
    stepped = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        p = torch.nn.Parameter(torch.randn(4, 3, 3, 3, dtype=torch.float64).to(memory_format=layout))
        optimizer = LarcSGD([p], lr=0.5)
        for _ in range(3):
            p.grad = torch.randn(4, 3, 3, 3, dtype=torch.float64).to(memory_format=layout)
            optimizer.step()
        stepped.append(p.detach())
    torch.testing.assert_close(*stepped, rtol=1e-12, atol=0)
