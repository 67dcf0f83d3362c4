"""The step on CUDA: the CPU's training, bit for bit when it resumes, and one wait for the device a step."""

from __future__ import annotations

import warnings

import pytest
import torch

from benchmarks.parts.small import crops, small_config
from swav_ray.model.normalize import normalize
from swav_ray.training import checkpoint
from swav_ray.training.learner import Learner

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def _batch(learner: Learner, step: int) -> list[torch.Tensor]:
    dtype = learner.model.conv1.weight.dtype
    return [group.to(learner.device, dtype) for group in crops(learner.config, step, slice(None))]


@pytest.mark.parametrize("groups", [1, 2])
def test_cuda_trains_as_the_cpu_does_in_float64(groups: int) -> None:
    config = small_config(train={"batchnorm_groups": groups})
    losses = []
    for device in ("cpu", "cuda"):
        learner = Learner(config, 3, dtype=torch.float64, device=device)
        losses.append([learner.step(_batch(learner, step), step).loss for step in range(7)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-7)


def test_resuming_on_cuda_is_bit_for_bit_the_same() -> None:
    config = small_config()
    straight, second = Learner(config, 3, device="cuda"), Learner(config, 3, device="cuda")
    for step in range(3):
        straight.step(_batch(straight, step), step)
    state = checkpoint.snapshot(straight, 3)
    checkpoint.restore(second, checkpoint.Checkpoint(3, state.model, state.training, state.meta))
    for step in range(3, 6):
        assert straight.step(_batch(straight, step), step).loss == second.step(_batch(second, step), step).loss


def test_a_refused_step_changes_nothing_on_the_device() -> None:
    learner = Learner(small_config(), 3, device="cuda")
    learner.step(_batch(learner, 0), 0)
    learner.model.normalize_prototypes()
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    bad = _batch(learner, 1)
    bad[0][0] = torch.nan
    assert "nan" in learner.step(bad, 1).refused
    for name, value in learner.model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=1e-6, atol=1e-7)


def test_a_step_waits_for_the_device_once() -> None:
    config = small_config()
    learner = Learner(config, 3, device="cuda")
    for step in range(6):  # until the queue is full
        learner.step(_batch(learner, step), step)
    batch = _batch(learner, 6)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            learner.step(batch, 6)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [str(warning.message) for warning in caught if "synchroniz" in str(warning.message)]
    assert len(waits) == 1, waits


def test_to_make_a_networks_input_waits_for_nothing() -> None:
    pixels = torch.zeros(2, 8, 8, 3, dtype=torch.uint8, device="cuda")
    normalize(pixels)
    torch.cuda.set_sync_debug_mode("error")
    try:
        normalize(pixels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
