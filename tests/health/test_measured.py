"""When a run is given up as collapsed, and when it is not."""

from __future__ import annotations

import math

from swav_ray.config import ModelConfig, OptimConfig
from swav_ray.health.measured import collapsed
from swav_ray.health.settled import grace_steps, uniform_loss

LN_K = math.log(100)


def rows(*losses: float, entropy: float = 0.9) -> list[dict[str, float]]:
    return [{"step": 10 * (i + 1), "loss": loss, "prototype_entropy": entropy} for i, loss in enumerate(losses)]


def test_a_loss_stuck_at_ln_k_is_a_collapse() -> None:
    assert "stuck at 4.605, ln K is 4.605" in collapsed(rows(LN_K, LN_K), LN_K, grace=0)


def test_nothing_is_proven_while_prototypes_are_frozen_or_by_one_measurement() -> None:
    assert collapsed(rows(LN_K, LN_K), LN_K, grace=10) == ""
    assert collapsed(rows(LN_K), LN_K, grace=0) == ""


def test_the_grace_ends_with_the_warm_up_or_the_freeze_whichever_is_later() -> None:
    assert grace_steps(OptimConfig(warmup_epochs=1.5, freeze_prototypes_steps=10), 9) == 14
    assert grace_steps(OptimConfig(warmup_epochs=0.5, freeze_prototypes_steps=10), 9) == 10


def test_the_uniform_loss_of_several_heads_is_their_mean() -> None:
    assert uniform_loss(ModelConfig(prototypes=(100,))) == LN_K
    assert math.isclose(uniform_loss(ModelConfig(prototypes=(10, 1000))), LN_K)


def test_a_loss_that_moves_or_lies_above_is_none() -> None:
    assert collapsed(rows(LN_K, LN_K - 0.1), LN_K, grace=0) == ""
    assert collapsed(rows(LN_K + 0.2, LN_K + 0.1), LN_K, grace=0) == ""


def test_one_prototype_that_takes_every_image_is_a_collapse() -> None:
    assert "prototype entropy is 0.020" in collapsed(rows(4.7, 4.55, entropy=0.02), LN_K, grace=0)
    assert collapsed(rows(4.7, 4.55, entropy=0.5), LN_K, grace=0) == ""


def test_a_low_entropy_is_none_while_the_loss_tells_prototypes_apart() -> None:
    assert collapsed(rows(4.4, 4.3, entropy=0.0), LN_K, grace=0) == ""
    unknown = [{"step": step, "loss": None, "prototype_entropy": 0.0} for step in (1, 2)]
    assert collapsed(unknown, LN_K, grace=0) == ""
