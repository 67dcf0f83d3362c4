"""A run that is measured beside training leaves what a run leaves that measures itself, whatever happens on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from swav_ray import worker
from swav_ray.config import Config
from swav_ray.measuring.beside import Start, TaskFailed
from swav_ray.run import layout, measurements
from swav_ray.run.events import Events
from swav_ray.run.measurements import Figures
from swav_ray.run.messages import KnnMeasured, Measured, Message, Waiting, Warned
from swav_ray.run.metrics_log import read_metrics
from swav_ray.run.scores import knn_scores
from swav_ray.storage.place import Place
from swav_ray.training import checkpoint
from swav_ray.training.control import Request
from swav_ray.weights import ours
from tests.in_process import AtOnce, InProcess, make_run, measurable, tiny

# Four epochs of three steps, measured after each but the last. A checkpoint that is asked for is waited for, so that
# the next step finds it written.
END = 12
SAVES = {2: Request.SAVE, 5: Request.SAVE, 8: Request.SAVE}


class Slow(AtOnce):
    """Is never done."""

    def poll(self) -> Figures | None:
        return None


class Failing(AtOnce):
    """Fails whenever it measures step 3."""

    def poll(self) -> Figures | None:
        if self.step == 3:
            raise TaskFailed("OutOfMemoryError")
        return super().poll()


@pytest.fixture(autouse=True)
def measurable_and_torch_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Events, "write", lambda *_: None)
    measurable(monkeypatch.setattr)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def four_epochs(**keep: int) -> Config:
    return tiny(train={"epochs": 4}, checkpoint={"every_epochs": 10.0, "keep_last": 1} | keep)


def starts(config: Config, run_dir: Place, task: type[AtOnce]) -> Start:
    return lambda step: task(config, run_dir, step)


def go(
    run_dir: Place,
    task: type[AtOnce] | None = AtOnce,
    *,
    config: Config | None = None,
    requests: dict[int, Request] = SAVES,
) -> list[Message | str]:
    """Runs the worker, measured by such tasks, or by itself; what it reported."""
    config = config or four_epochs()
    coordinator = InProcess(config, requests)
    coordinator.start = starts(config, run_dir, task) if task else None
    worker.run(config, run_dir, coordinator)
    assert (coordinator.reason, coordinator.failures) == ("", [])
    return coordinator.events


def outcome(run_dir: Place) -> dict[str, Any]:
    summary = json.loads((run_dir / layout.SUMMARY).read_bytes())
    return {
        "measurements": measurements.read(run_dir),
        "losses": [(record["step"], record["loss"]) for record in read_metrics(run_dir)],
        "checkpoints": checkpoint.steps(run_dir),
        "knn": summary["knn_top1"],
    }


@pytest.fixture
def inside(tmp_path: Path) -> dict[str, Any]:
    run_dir = make_run(tmp_path / "inside")
    go(run_dir, None)
    return outcome(run_dir)


@pytest.fixture
def run_dir(tmp_path: Path) -> Place:
    return make_run(tmp_path / "beside")


def told(events: list[Message | str]) -> list[str]:
    return [event.text for event in events if isinstance(event, Warned)]


def test_it_leaves_what_a_run_leaves_that_measures_itself(run_dir: Place, inside: dict[str, Any]) -> None:
    events = go(run_dir)
    assert outcome(run_dir) == inside
    assert [row["step"] for row in inside["measurements"]] == [3, 6, 9, END]
    assert [event.step for event in events if isinstance(event, KnnMeasured)] == [3, 6, 9, END]
    assert [event.row["step"] for event in events if isinstance(event, Measured)] == [3, 6, 9, END]
    assert not [event for event in events if event == Waiting("kNN before step 3")]


def test_a_stopped_run_makes_up_for_what_was_under_way(run_dir: Place, inside: dict[str, Any]) -> None:
    go(run_dir, Slow, requests={2: Request.SAVE, 6: Request.STOP})
    assert measurements.read(run_dir) == []
    assert checkpoint.steps(run_dir) == [3, 6, 7], "the newest, and those that await their measurement"
    go(run_dir)
    assert outcome(run_dir) == inside


def test_workers_without_room_for_a_task_make_up_for_it_themselves(run_dir: Place, inside: dict[str, Any]) -> None:
    go(run_dir, Slow, requests={2: Request.SAVE, 6: Request.STOP})
    events = go(run_dir, None)
    assert outcome(run_dir) == inside
    assert events.index(Waiting("kNN before step 3")) < events.index(Waiting("kNN before step 6"))


def test_a_task_that_is_slower_than_training_is_told_and_the_workers_measure(
    run_dir: Place, inside: dict[str, Any]
) -> None:
    events = go(run_dir, Slow)
    assert outcome(run_dir) == inside
    assert told(events) == [
        "kNN beside training is slower than training: the workers measure now, which training waits for"
    ]
    assert [event.what for event in events if isinstance(event, Waiting) and "kNN" in event.what] == [
        "kNN before step 3",
        "kNN before step 6",
        "kNN before step 9",
    ]


def test_a_task_that_fails_again_and_again_costs_its_line_and_nothing_else(
    run_dir: Place, inside: dict[str, Any]
) -> None:
    events = go(run_dir, Failing)
    assert told(events) == ["kNN before step 3 is left out: its task failed 3 times, last with: OutOfMemoryError"]
    found = outcome(run_dir)
    assert [row["step"] for row in found["measurements"]] == [6, 9, END]
    assert found["measurements"][1:] == inside["measurements"][2:]
    assert (found["losses"], found["checkpoints"]) == (inside["losses"], inside["checkpoints"])


def test_the_loss_of_a_line_is_of_all_steps_since_the_line_before(run_dir: Place) -> None:
    go(run_dir, Failing)
    losses = [record["loss"] for record in read_metrics(run_dir)]
    assert measurements.read(run_dir)[0]["loss"] == pytest.approx(sum(losses[:6]) / 6, rel=1e-12)


def test_the_best_stay_and_are_found_though_they_were_saved_before_they_were_measured(run_dir: Place) -> None:
    go(run_dir, config=four_epochs(keep_best=1))
    scores = {row["step"]: row["knn_top1"] for row in measurements.read(run_dir)}
    best = max(scores, key=lambda step: scores[step])
    assert checkpoint.steps(run_dir) == sorted({best, END})
    assert knn_scores(run_dir, checkpoint.steps(run_dir)) == {step: scores[step] for step in {best, END}}
    (run_dir / layout.CONFIG).write_bytes(b"{}")
    assert ours._checkpoint(run_dir, "best") == layout.checkpoint_folder(run_dir, best)


def test_a_checkpoint_that_cannot_be_read_any_more_is_told(run_dir: Place) -> None:
    go(run_dir, Slow, requests={2: Request.SAVE, 6: Request.STOP})
    (layout.checkpoint_folder(run_dir, 3) / layout.MODEL).write_bytes(b"damaged")
    events = go(run_dir, None)
    (line,) = told(events)
    assert line.startswith("kNN before step 3 is left out: ")
    assert [row["step"] for row in measurements.read(run_dir)] == [6, 9, END]
