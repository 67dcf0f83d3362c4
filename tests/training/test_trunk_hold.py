"""While heads warm up, a trunk that a run starts with stands still, or moves at a fraction of the rate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.parts.small import crops, small_config
from swav_ray.config import Config
from swav_ray.model.swav import is_trunk
from swav_ray.storage.place import place
from swav_ray.training import checkpoint
from swav_ray.training.distributed import World
from swav_ray.training.learner import Learner

State = dict[str, Tensor]


def held(epochs: float = 1.0, factor: float = 0.0, **train: object) -> Config:
    """Three steps an epoch; the first `epochs` hold the trunk."""
    own = {"init_from": "somewhere", "init_trunk_epochs": epochs, "init_trunk_lr_factor": factor}
    return small_config(train={"epochs": 4, "global_batch_size": 8} | own | train)


def state(learner: Learner) -> State:
    return {name: value.clone() for name, value in learner.model.state_dict().items()}


def advance(learner: Learner, start: int, stop: int) -> list[float]:
    rows = learner.world.own_slice(learner.config.train.global_batch_size)
    dtype = learner.model.conv1.weight.dtype
    return [
        learner.step([group.to(dtype) for group in crops(learner.config, step, rows)], step).loss
        for step in range(start, stop)
    ]


def moved(before: State, after: State) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("train", [{}, {"max_rows_per_pass": 3}, {"batchnorm_groups": 2}, {"sync_batchnorm": False}])
def test_neither_a_weight_nor_a_running_statistic_of_a_frozen_trunk_moves(train: dict[str, object]) -> None:
    learner = Learner(held(**train), 3)
    before = state(learner)
    advance(learner, 0, 3)
    frozen = moved(before, state(learner))
    assert {name for name in frozen if is_trunk(name)} == set()
    assert {"projection_head.0.weight", "projection_head.1.running_mean"} <= frozen
    advance(learner, 3, 4)
    thawed = moved(before, state(learner))
    trunk = {name for name in before if is_trunk(name)}
    assert trunk <= thawed


def test_a_frozen_trunk_has_no_momentum_and_no_gradient() -> None:
    learner = Learner(held(), 3)
    advance(learner, 0, 2)
    momenta = [name for name in checkpoint.snapshot(learner, 2).training if name.startswith("momentum.")]
    assert momenta
    assert not any(is_trunk(name.removeprefix("momentum.")) for name in momenta)
    assert learner.model.conv1.weight.grad is None


def test_a_held_trunk_moves_by_the_fraction_of_its_step() -> None:
    free, slow = Learner(small_config(), 3, dtype=torch.float64), Learner(held(factor=0.25), 3, dtype=torch.float64)
    before = state(free)
    for learner in (free, slow):
        advance(learner, 0, 1)
    for name, start in before.items():
        if name.endswith("weight") and not name.startswith("prototypes"):
            way = 0.25 if is_trunk(name) else 1.0
            torch.testing.assert_close(state(slow)[name] - start, way * (state(free)[name] - start), msg=name)


def test_without_it_a_step_is_what_it_was() -> None:
    plain, empty = Learner(small_config(), 3), Learner(held(epochs=0.0), 3)
    assert advance(plain, 0, 6) == advance(empty, 0, 6)
    assert moved(state(plain), state(empty)) == set()


def _trained(world: World, config: Config) -> tuple[list[float], State]:
    learner = Learner(config, 3, dtype=torch.float64, world=world)
    return advance(learner, 0, 6), state(learner)


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_world_size_changes_nothing(gloo_pool, factor: float) -> None:
    config = held(factor=factor)
    losses, ours = _trained(World(), config)
    for theirs, weights in gloo_pool.run(3, _trained, config):
        assert theirs == pytest.approx(losses, rel=1e-9)
        torch.testing.assert_close(weights, ours)


def test_resuming_within_the_hold_is_bit_for_bit_the_same(tmp_path: Path) -> None:
    config = held()
    straight, first, second = (Learner(config, 3) for _ in range(3))
    losses = advance(straight, 0, 6)
    advance(first, 0, 2)
    checkpoint.write(place(tmp_path), checkpoint.snapshot(first, 2))
    checkpoint.restore(second, checkpoint.load(place(tmp_path), 2))
    assert advance(second, 2, 6) == losses[2:]
    assert moved(state(straight), state(second)) == set()
