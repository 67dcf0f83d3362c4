"""Which steps are refused; the device and the message agree."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks.parts.small import small_config
from swav_ray.training.refusal import most_loss, must_refuse, why_refuse

CONFIG = small_config()
LIMIT = (math.log(6) + math.log(5)) / 2 + 1 / CONFIG.train.temperature


def test_a_loss_beyond_reason_is_refused() -> None:
    assert most_loss(CONFIG) == pytest.approx(LIMIT)
    assert not why_refuse(CONFIG, LIMIT - 0.01)
    assert f"{LIMIT:.4g}" in why_refuse(CONFIG, LIMIT + 0.01)


@pytest.mark.parametrize("loss", [1.0, LIMIT - 0.01, LIMIT + 0.01, math.nan, math.inf])
@pytest.mark.parametrize("norm", [0.0, 5.0, math.nan, math.inf])
def test_the_device_refuses_what_the_message_explains(loss: float, norm: float) -> None:
    assert bool(must_refuse(CONFIG, torch.tensor(loss), torch.tensor(norm))) == bool(why_refuse(CONFIG, loss, norm))
