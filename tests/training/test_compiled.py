"""`performance.compile`: trunk and colour are compiled once a resolution; the step stays the same but for rounding."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from benchmarks.parts.small import crops, small_config
from swav_ray.config import Config, replace
from swav_ray.training import checkpoint, device_batches
from swav_ray.training.device_batches import SentBatch
from swav_ray.training.learner import Learner
from tests.training.test_device_color import made as crops_and_colors
from tests.training.test_loop import batches


@pytest.fixture(autouse=True)
def nothing_compiled_yet() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()
    device_batches._compiled_color.cache_clear()


def losses(config: Config, steps: int = 4) -> list[float]:
    learner = Learner(config, 3, dtype=torch.float64)
    return [learner.step(crops(config, step, slice(None)), step).loss for step in range(steps)]


def compiled(config: Config) -> Config:
    return replace(config, performance={"compile": True})


@pytest.mark.parametrize(
    ("train", "graphs"),
    [
        ({}, 2),  # one a resolution
        ({"batchnorm_groups": 2}, 2),
        ({"max_rows_per_pass": 4}, 4),  # with gradient and without
    ],
)
def test_the_trunk_is_compiled_once_a_resolution(
    train: dict[str, int], graphs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(train=train)
    expected = losses(config)
    made = []

    def backend(graph: torch.fx.GraphModule, _: list[Any]) -> Callable[..., Any]:
        made.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend, fullgraph=True))
    assert losses(compiled(config)) == pytest.approx(expected, rel=1e-12)
    assert len(made) == graphs


def colored(config: Config) -> list[torch.Tensor]:
    """Two resolutions of crops, coloured on the device."""
    _, pixels, params = crops_and_colors(6)
    groups = [pixels, pixels[:, ::2, ::2].contiguous()]
    return SentBatch(next(batches(config, 1)), groups, [params, params]).crops(config)


def test_colour_on_the_device_is_compiled_once_a_resolution(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config()
    expected = colored(config)
    made = []

    def backend(graph: torch.fx.GraphModule, _: list[Any]) -> Callable[..., Any]:
        made.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend, fullgraph=True))
    for _ in range(2):
        for crops_of_size, eager in zip(colored(compiled(config)), expected, strict=True):
            assert torch.equal(crops_of_size, eager)
    assert len(made) == 2


@pytest.mark.slow
def test_torchs_own_compiler_colours_as_the_operations_one_by_one_do() -> None:
    config = small_config()
    for fused, eager in zip(colored(compiled(config)), colored(config), strict=True):
        level = 1 / (255 * 0.225)
        assert (fused - eager).abs().max() < 2 * level
        assert (fused - eager).abs().mean() < 0.001 * level


def test_evaluation_does_not_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=made.append))
    learner = Learner(compiled(small_config()), 3)
    learner.model.eval().features(torch.zeros(2, 3, 16, 16))
    assert not made


@pytest.mark.slow
def test_torchs_own_compiler_resumes_bit_for_bit() -> None:
    config = compiled(small_config())
    batches = [[group.float() for group in crops(config, step, slice(None))] for step in range(6)]
    straight, second = Learner(config, 3), Learner(config, 3)
    found = [straight.step(batch, step).loss for step, batch in enumerate(batches[:3])]
    state = checkpoint.snapshot(straight, 3)
    checkpoint.restore(second, checkpoint.Checkpoint(3, state.model, state.training, state.meta))
    torch.compiler.reset()
    resumed = [second.step(batch, step).loss for step, batch in enumerate(batches[3:], 3)]
    assert resumed == [straight.step(batch, step).loss for step, batch in enumerate(batches[3:], 3)]
    eager = Learner(replace(config, performance={"compile": False}), 3)
    assert found == pytest.approx([eager.step(batch, step).loss for step, batch in enumerate(batches[:3])], rel=1e-3)
