"""The first refused step is saved whole, runs again as it ran, and its first tensor that is not finite is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.parts.small import small_config
from swav_ray import replay as command
from swav_ray.config import Config
from swav_ray.data.batch import Batch
from swav_ray.health import black_box
from swav_ray.health.replay import replay
from swav_ray.run import layout
from swav_ray.run.events import Events
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import Place, place
from swav_ray.training.device_batches import to_device
from swav_ray.training.distributed import World
from swav_ray.training.learner import Learner, StepResult
from tests.in_process import make_run, run, tiny
from tests.training.test_loop import PLAN, batches

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def torch_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Events, "write", lambda *_: None)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def refused(config: Config, broken: str, value: float) -> tuple[Learner, Batch, StepResult]:
    """A learner that trained for four steps, then has a weight that breaks the fifth."""
    learner = Learner(config, PLAN.steps_per_epoch)
    *before, last = batches(config, 5)
    for batch in before:
        learner.step(to_device(batch, config, CPU), batch.step)
    with torch.no_grad():
        weight = dict(learner.model.named_parameters())[broken]
        weight[(0,) * weight.dim()] = value
    return learner, last, learner.step(to_device(last, config, CPU), last.step)


def saved(tmp_path: Path, broken: str, value: float, config: Config | None = None) -> Place:
    learner, batch, result = refused(config or small_config(), broken, value)
    assert result.refused
    black_box.save(place(tmp_path), learner, batch, result)
    return place(tmp_path)


def test_a_weight_that_is_not_finite_is_named(tmp_path: Path) -> None:
    run_dir = saved(tmp_path, "layer2.0.conv1.weight", float("nan"))
    found = replay(black_box.load(run_dir, 4), CPU)
    assert found.refused == found.before == "the loss is nan"
    assert found.trail.found.startswith("parameter layer2.0.conv1.weight: 1 NaN and 0 infinite of ")


def test_finite_weights_that_overflow_are_found_at_the_layer_whose_output_does(tmp_path: Path) -> None:
    run_dir = saved(tmp_path, "projection_head.3.weight", 3e38)
    box = black_box.load(run_dir, 4)
    found = replay(box, CPU)
    names = list(found.trail.largest)
    assert found.trail.largest["parameter projection_head.3.weight"] == pytest.approx(3e38)
    assert "output of projection_head.2" in names[-1]
    assert found.trail.found.startswith("output of projection_head.3: 0 NaN and ")
    assert "the first tensor that is not finite is output of projection_head.3" in "\n".join(found.lines())


def test_the_layers_of_a_run_with_a_compiled_trunk_are_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda trunk, **_: trunk)
    config = small_config(performance={"compile": True})
    box = black_box.load(saved(tmp_path, "layer2.0.conv1.weight", 3e38, config), 4)
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("the replay compiles"))
    assert "output of layer2.0.conv1" in "\n".join(replay(box, CPU).lines())


def test_a_gradient_that_is_not_finite_is_found_after_a_finite_forward_pass(tmp_path: Path) -> None:
    config = small_config()
    learner, batch, result = refused(config, "conv1.weight", 1.0)
    assert not result.refused
    black_box.save(
        place(tmp_path), learner, batch, StepResult(0.0, 0.0, [], torch.empty(0), "the gradient's norm is inf")
    )

    class Explodes(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
            return x.clone()

        @staticmethod
        def backward(ctx: object, grad: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # noqa: ARG004
            return grad * float("inf")

    whole = nn.MaxPool2d.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.MaxPool2d, "forward", lambda self, x: Explodes.apply(whole(self, x)))
        found = replay(black_box.load(place(tmp_path), batch.step), CPU)
    assert found.refused.startswith("the gradient's norm is ")
    assert found.trail.found.startswith("gradient of the output of relu")


def test_a_step_that_was_refused_for_its_size_has_nothing_that_is_not_finite(tmp_path: Path) -> None:
    learner, batch, _ = refused(small_config(), "conv1.weight", 1.0)
    black_box.save(place(tmp_path), learner, batch, StepResult(99.0, 0.0, [], torch.empty(0), "the loss is above"))
    found = replay(black_box.load(place(tmp_path), 4), CPU)
    assert (found.refused, found.trail.found) == ("", "")
    assert "every tensor of the step is finite" in found.lines()


def test_it_runs_bit_for_bit_as_it_ran(tmp_path: Path) -> None:
    config = small_config()
    learner = Learner(config, PLAN.steps_per_epoch)
    *before, last = batches(config, 5)
    for batch in before:
        learner.step(to_device(batch, config, CPU), batch.step)
    black_box.save(place(tmp_path), learner, last, StepResult(0.0, 0.0, [], torch.empty(0), "for the test"))
    expected = learner.step(to_device(last, config, CPU), last.step)
    box = black_box.load(place(tmp_path), 4)
    again = Learner(box.config, PLAN.steps_per_epoch)
    torch.manual_seed(5)
    black_box.restore(again, box)
    assert torch.equal(torch.get_rng_state(), box.random["cpu"])
    assert again.step(to_device(box.batch, config, CPU), 4).loss == expected.loss


def test_the_slices_of_several_workers_become_the_global_batch(tmp_path: Path) -> None:
    config = small_config()
    (whole,) = batches(config, 1)
    result = StepResult(0.0, 0.0, [], torch.empty(0), "for the test")
    for rank in (1, 0):
        learner = Learner(config, PLAN.steps_per_epoch)
        learner.world = World(rank, 2)
        rows = learner.world.own_slice(8)
        groups = [group[:, rows].reshape(-1) for group in whole.groups(config.crops)]
        part = Batch.of(
            whole.about(), whole.sample_ids[rows], torch.cat([torch.from_numpy(g) for g in groups]).numpy(), whole.color
        )
        black_box.save(place(tmp_path), learner, part, result)
    box = black_box.load(place(tmp_path), 0)
    assert box.batch.sample_ids.tolist() == whole.sample_ids.tolist()
    assert (box.batch.pixels == whole.pixels).all()


def test_a_run_saves_the_first_step_that_it_refuses_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = make_run(tmp_path / "run")
    reasons = iter(["for the test"] * 2)
    monkeypatch.setattr("swav_ray.training.learner.why_refuse", lambda *_: next(reasons, ""))
    run(tiny(), run_dir)
    assert [record["step"] for record in read_metrics(run_dir) if record.get("refused")] == [0, 1]
    assert black_box.saved_steps(run_dir) == [0]
    names = sorted(entry.name for entry in (run_dir / layout.REFUSED).list())
    files = ["batch-0.safetensors", "config.yaml", "meta.json", "model.safetensors", "training.safetensors"]
    assert names == [f"step-000000000/{file}" for file in files]


def test_the_command_names_the_tensor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path, "layer2.0.conv1.weight", float("inf"))
    assert command.main([str(tmp_path), "4"]) == 0
    assert command.main([str(tmp_path)]) == 0
    first, second = capsys.readouterr().out.split("step 4 of ")[1:]
    assert first == second
    assert "the first tensor that is not finite is parameter layer2.0.conv1.weight: 0 NaN and 1 infinite" in first


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["5"], "STEP = 5: was not saved; the run has step 4"),
        (["4", "--device", "tpu"], "--device = 'tpu': must be cpu"),
        (["4", "--devise", "cpu"], "--devise: no such option; did you mean --device?"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    saved(tmp_path, "conv1.weight", float("nan"))
    assert command.main([str(tmp_path), *arguments]) == 2
    assert line in capsys.readouterr().err


def test_a_run_without_a_refused_step_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([str(tmp_path)]) == 2
    assert "has no refused step; a run saves the first that it refuses" in capsys.readouterr().err
