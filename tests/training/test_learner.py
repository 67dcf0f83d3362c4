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
from swav_ray.config import Config, replace
from swav_ray.recipes import quickstart
from swav_ray.training.distributed import World
from swav_ray.training.learner import Diverged, Learner

ROOT = Path(__file__).parents[2]
REPLAY = [sys.executable, str(ROOT / "benchmarks" / "replay_golden.py")]
GOLDEN = ROOT / "tests" / "golden" / "swav_trajectory_seed7.npz"


def small_config(**sections: dict[str, object]) -> Config:
    """Two heads, a queue that fills, a freeze, an uneven batch: every branch of the step."""
    base = replace(
        quickstart(),
        crops={"sizes": (16, 8), "counts": (2, 1), "min_scales": (0.3, 0.1), "max_scales": (1.0, 0.4)},
        model={"width": 0.125, "hidden_dim": 12, "output_dim": 8, "prototypes": (6, 5)},
        queue={"length": 16, "start_epoch": 1},
        optim={"freeze_prototypes_steps": 2, "warmup_epochs": 1.0},
        train={"epochs": 4, "global_batch_size": 8},
    )
    return replace(base, **sections)


def crops(config: Config, step: int, rows: slice) -> list[Tensor]:
    """Random crops of a global batch, of which `rows` are this worker's, crop-major."""
    rng = np.random.default_rng(step)
    batch = config.train.global_batch_size
    groups = []
    for count, size in zip(config.crops.counts, config.crops.sizes, strict=True):
        images = torch.from_numpy(rng.standard_normal((count, batch, 3, size, size)))
        groups.append(images[:, rows].flatten(0, 1))
    return groups


def _losses(world: World, config: Config, steps: int) -> tuple[list[float], Tensor, Tensor]:
    learner = Learner(config, 3, dtype=torch.float64, world=world)
    rows = world.share(config.train.global_batch_size)
    losses = [learner.step(crops(config, step, rows), step).loss for step in range(steps)]
    assert learner.queue is not None
    return losses, learner.model.conv1.weight.detach(), learner.queue.rows


def test_follows_the_published_run_number_for_number() -> None:
    done = subprocess.run([*REPLAY, str(GOLDEN)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["within"]


def test_the_replay_notices_a_figure_that_is_off() -> None:
    recorded = np.array([1.0, 0.5, 1e-9])
    assert replay_golden.vector_error(recorded * (1 + 1e-10), recorded) < replay_golden.TOLERANCE
    assert replay_golden.vector_error(recorded + 1e-7, recorded) > replay_golden.TOLERANCE
    assert replay_golden.relative_error(np.full(3, np.nan), recorded) == np.inf


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_world_size_changes_nothing(gloo_pool, workers: int) -> None:
    config = small_config()
    losses, weight, queue = _losses(World(), config, 12)
    for theirs, their_weight, their_queue in gloo_pool.run(workers, _losses, config, 12):
        assert theirs == pytest.approx(losses, rel=1e-9)
        torch.testing.assert_close(their_weight, weight, rtol=1e-7, atol=1e-10)
        torch.testing.assert_close(their_queue, queue, rtol=1e-7, atol=1e-10)


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


def test_a_nan_loss_changes_nothing() -> None:
    config = small_config()
    learner = Learner(config, 3)
    learner.model.normalize_prototypes()
    before = {name: value.clone() for name, value in learner.model.named_parameters()}
    batch = [group.float() for group in crops(config, 0, slice(None))]
    batch[0][0] = torch.nan
    with pytest.raises(Diverged, match="step 0"):
        learner.step(batch, 0)
    for name, value in learner.model.named_parameters():
        # Putting prototypes on the sphere again may move their last bit.
        tolerance = 1e-6 if name.startswith("prototypes") else 0.0
        torch.testing.assert_close(value, before[name], rtol=tolerance, atol=tolerance)


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = Learner(small_config(), 3).model.conv1.weight
    torch.manual_seed(2)
    same = Learner(small_config(), 3).model.conv1.weight
    other = Learner(small_config(run={"seed": 5}), 3).model.conv1.weight
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_bf16_trains_with_a_float32_loss() -> None:
    config = small_config(train={"precision": "bf16"})
    learner = Learner(config, 3)
    result = learner.step([group.float() for group in crops(config, 0, slice(None))], 0)
    assert np.isfinite(result.loss)
    assert all(codes.dtype == torch.float32 for codes in result.codes)
