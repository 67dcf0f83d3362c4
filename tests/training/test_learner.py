"""The step: the published run, the same training at any world size, the freeze, the queue, refusal of NaN."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import replay_golden
from benchmarks.parts.small import crops, small_config
from swav_ray.config import Config, replace
from swav_ray.training.distributed import World
from swav_ray.training.learner import Learner

ROOT = Path(__file__).parents[2]
REPLAY = [sys.executable, "-m", "benchmarks.replay_golden"]
GOLDEN = ROOT / "tests" / "golden" / "swav_trajectory_seed7.npz"


def _losses(world: World, config: Config, steps: int) -> tuple[list[float], Tensor, Tensor]:
    learner = Learner(config, 3, dtype=torch.float64, world=world)
    rows = world.own_slice(config.train.global_batch_size)
    losses = [learner.step(crops(config, step, rows), step).loss for step in range(steps)]
    assert learner.queue is not None
    return losses, learner.model.conv1.weight.detach(), learner.queue.rows


@pytest.mark.long
def test_follows_the_published_run_number_for_number() -> None:
    done = subprocess.run([*REPLAY, str(GOLDEN)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["within"]


def test_the_replay_notices_a_figure_that_is_off() -> None:
    recorded = np.array([1.0, 0.5, 1e-9])
    assert replay_golden.vector_error(recorded * (1 + 1e-10), recorded) < replay_golden.TOLERANCE
    assert replay_golden.vector_error(recorded + 1e-7, recorded) > replay_golden.TOLERANCE
    assert replay_golden.relative_error(np.full(3, np.nan), recorded) == np.inf
    assert replay_golden.within(1e-7, 5e-8)
    assert not replay_golden.within(1e-7, 5e-9)
    assert not replay_golden.within(2e-5, 1.0)


def test_the_replay_notices_another_epsilon() -> None:
    with np.load(GOLDEN, allow_pickle=False) as file:
        recorded = {name: file[name] for name in file.files}
    ours = replay_golden.run(recorded | {"epsilon": recorded["epsilon"] * (1 + 1e-4), "lrs": recorded["lrs"][:4]})
    assert np.abs(ours["losses"] / recorded["losses"][:4] - 1).max() > replay_golden.MOST


def _assert_same_training(theirs: list, ours: tuple, rounding: float = 1.0) -> None:
    losses, weight, queue = ours
    for their_losses, their_weight, their_queue in theirs:
        assert their_losses == pytest.approx(losses, rel=1e-9 * rounding)
        torch.testing.assert_close(their_weight, weight, rtol=1e-7 * rounding, atol=1e-10 * rounding)
        torch.testing.assert_close(their_queue, queue, rtol=1e-7 * rounding, atol=1e-10 * rounding)


@pytest.mark.parametrize(
    ("workers", "steps"),
    [(2, 12), (3, 50), (4, 12), (8, 12), *(pytest.param(n, 12, marks=pytest.mark.slow) for n in (5, 6, 7))],
)
def test_world_size_changes_nothing(gloo_pool, workers: int, steps: int) -> None:
    config = small_config(train={"epochs": 20})
    _assert_same_training(gloo_pool.run(workers, _losses, config, steps), _losses(World(), config, steps))


@pytest.mark.parametrize(("workers", "most"), [(1, 2), (1, 3), (2, 0), (2, 3), (3, 0), (4, 0)])
def test_batchnorm_by_parts_is_the_same_at_any_world_size_and_in_any_passes(gloo_pool, workers: int, most: int) -> None:
    """Four parts of two images: within a worker at 1, 2 and 4 workers, across two of them at 3."""
    config = small_config(train={"batchnorm_groups": 4})
    ours = _losses(World(), config, 6)
    passes = replace(config, train={"max_rows_per_pass": most})
    # Two single values have next to no gradient through their BatchNorm: what is left of it depends on rounding, hence
    # on how a part is cut.
    _assert_same_training(gloo_pool.run(workers, _losses, passes, 6), ours, rounding=100)
    assert ours[0] != pytest.approx(_losses(World(), small_config(), 6)[0], rel=1e-3)


def _gradient(world: World, config: Config) -> tuple[float, Tensor, list[Tensor]]:
    """Loss, first weight after two steps, and codes of the second step, in evaluation-like BatchNorm (no batch)."""
    learner = Learner(config, 3, dtype=torch.float64, world=world)
    for module in learner.model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.train = lambda _=True, module=module: module  # type: ignore[method-assign,misc]
            module.training = False
    rows = world.own_slice(config.train.global_batch_size)
    learner.step(crops(config, 0, rows), 0)
    result = learner.step(crops(config, 1, rows), 1)
    return result.loss, learner.model.conv1.weight.detach(), result.codes


@pytest.mark.parametrize(("workers", "most"), [(1, 1), (1, 3), (1, 5), (2, 3), (3, 1)])
def test_passes_have_the_codes_and_the_gradient_of_one_pass(gloo_pool, workers: int, most: int) -> None:
    """BatchNorm, whose statistics are those of a pass, is held still."""
    config = small_config()
    in_passes = replace(config, train={"max_rows_per_pass": most})
    whole = gloo_pool.run(workers, _gradient, config)
    for (loss, weight, codes), (a_loss, a_weight, a_codes) in zip(
        gloo_pool.run(workers, _gradient, in_passes), whole, strict=True
    ):
        assert loss == pytest.approx(a_loss, rel=1e-12)
        torch.testing.assert_close(weight, a_weight, rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(codes, a_codes, rtol=1e-9, atol=1e-12)


def test_prototypes_stand_still_while_frozen_and_move_after() -> None:
    config = small_config()
    learner = Learner(config, 3)
    learner.model.normalize_prototypes()
    before = [weight.clone() for weight in learner.model.prototype_weights()]
    moved = []
    for step in range(3):
        learner.step([group.float() for group in crops(config, step, slice(None))], step)
        now = learner.model.prototype_weights()
        moved.append(any((a - b).abs().max() > 1e-6 for a, b in zip(before, now, strict=True)))
    assert moved == [False, False, True]


def test_queue_fills_from_its_epoch_and_then_takes_part() -> None:
    config = small_config()
    learner = Learner(config, 3)
    assert learner.queue is not None
    filled = []
    for step in range(6):
        learner.step([group.float() for group in crops(config, step, slice(None))], step)
        filled.append(learner.queue.filled)
    assert filled == [0, 0, 0, 8, 16, 16]


def test_a_full_queue_changes_the_codes() -> None:
    config = small_config()
    with_queue, without = Learner(config, 3), Learner(replace(config, queue={"length": 0, "start_epoch": 0}), 3)
    differs = []
    for step in range(6):
        batch = [group.float() for group in crops(config, step, slice(None))]
        differs.append(with_queue.step(batch, step).loss != without.step(batch, step).loss)
    assert differs == [False, False, False, False, False, True]


def _refusal(world: World, config: Config, kind: str) -> tuple[list[str], list[float], bool, int]:
    """Seven steps, of which the third has a bad image on the last worker: refusals, losses, whether it changed any."""
    learner = Learner(config, 3, dtype=torch.float64, world=world)
    refusals, losses, kept = [], [], True
    for step in range(7):
        batch = crops(config, step, world.own_slice(config.train.global_batch_size))
        learner.model.normalize_prototypes()
        before = {name: value.clone() for name, value in learner.model.state_dict().items()}
        queue = learner.queue.rows.clone()
        if step == 2 and world.rank == world.size - 1:
            batch[0][0] = torch.nan
        if step == 2 and kind == "gradient":
            batch = crops(config, step, world.own_slice(config.train.global_batch_size))
            handle = learner.model.conv1.weight.register_hook(lambda gradient: gradient * torch.nan)
        result = learner.step(batch, step)
        if step == 2 and kind == "gradient":
            handle.remove()
        refusals.append(result.refused)
        if step == 2:
            now = learner.model.state_dict()
            for name, value in before.items():
                # Putting prototypes on the sphere again may move their last bit.
                tolerance = 1e-12 if name.startswith("prototypes") else 0.0
                kept &= torch.allclose(now[name], value, rtol=tolerance, atol=tolerance)
            kept &= torch.equal(queue, learner.queue.rows)
        else:
            losses.append(result.loss)
    return refusals, losses, kept, learner.refused_steps


@pytest.mark.parametrize("kind", ["loss", "gradient"])
@pytest.mark.parametrize(("workers", "most"), [(1, 0), (1, 3), (3, 1)])
def test_a_step_that_is_not_finite_is_refused_and_changes_nothing(
    gloo_pool, workers: int, most: int, kind: str
) -> None:
    config = small_config(train={"max_rows_per_pass": most}, queue={"start_epoch": 0})
    for refusals, losses, kept, count in gloo_pool.run(workers, _refusal, config, kind):
        assert [bool(refused) for refused in refusals] == [False, False, True, False, False, False, False]
        assert ("gradient's norm is nan" if kind == "gradient" else "loss is nan") in refusals[2]
        assert kept
        assert count == 1
        assert np.isfinite(losses).all()


def _tried(world: World, config: Config, tries: bool) -> tuple[list[float], list[str], dict[str, Tensor]]:
    learner = Learner(config, 3, dtype=torch.float64, world=world)
    losses, answers = [], []
    for step in range(7):
        batch = crops(config, step, world.own_slice(config.train.global_batch_size))
        losses.append(learner.step(batch, step).loss)
        if tries:
            answers.append(learner.trial(batch, step))
    if tries:
        with torch.no_grad():
            learner.model.conv1.weight[0] = torch.inf if world.rank == world.size - 1 else 1.0
        answers.append(learner.trial(batch, step))
    return losses, answers, {name: value.clone() for name, value in learner.model.state_dict().items()}


@pytest.mark.parametrize(("workers", "most"), [(1, 3), (3, 0)])
def test_a_trial_changes_nothing_and_finds_what_is_broken(gloo_pool, workers: int, most: int) -> None:
    config = small_config(train={"max_rows_per_pass": most})
    plain = gloo_pool.run(workers, _tried, config, False)
    for (losses, answers, state), (expected, _, before) in zip(
        gloo_pool.run(workers, _tried, config, True), plain, strict=True
    ):
        assert losses == expected
        assert answers == [""] * 7 + ["the loss is nan"]
        for name, value in before.items():
            assert name == "conv1.weight" or torch.equal(state[name], value), name


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = Learner(small_config(), 3).model.conv1.weight
    torch.manual_seed(2)
    same = Learner(small_config(), 3).model.conv1.weight
    other = Learner(small_config(run={"seed": 5}), 3).model.conv1.weight
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("groups", [1, 2])
def test_bf16_trains_with_a_float32_loss(groups: int) -> None:
    config = small_config(train={"precision": "bf16", "batchnorm_groups": groups})
    learner = Learner(config, 3)
    result = learner.step([group.float() for group in crops(config, 0, slice(None))], 0)
    assert np.isfinite(result.loss)
    assert all(codes.dtype == torch.float32 for codes in result.codes)
