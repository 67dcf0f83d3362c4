"""The learning rate at the points that the published schedule names."""

from __future__ import annotations

import math

import numpy as np
import pytest

from swav_ray.optim.schedule import learning_rate

PUBLISHED = {"warmup_steps": 10, "total_steps": 100, "start": 0.3, "base": 4.8, "final": 0.0048}


def test_warm_up_has_both_ends_in_it() -> None:
    ours = [learning_rate(step, **PUBLISHED) for step in range(10)]
    assert ours == pytest.approx(np.linspace(0.3, 4.8, 10))


def test_cosine_starts_at_the_base_and_ends_a_step_past_the_last() -> None:
    assert learning_rate(10, **PUBLISHED) == pytest.approx(4.8)
    assert learning_rate(55, **PUBLISHED) == pytest.approx((4.8 + 0.0048) / 2)
    last = 0.0048 + 0.5 * (4.8 - 0.0048) * (1 + math.cos(math.pi * 89 / 90))
    assert learning_rate(99, **PUBLISHED) == pytest.approx(last)


def test_no_warm_up_starts_at_the_base() -> None:
    assert learning_rate(0, **{**PUBLISHED, "warmup_steps": 0}) == pytest.approx(4.8)


def test_one_step_of_warm_up_is_its_start() -> None:
    assert learning_rate(0, **{**PUBLISHED, "warmup_steps": 1}) == pytest.approx(0.3)
