"""A worker of an evaluation that trains: it saves, stops, resumes, resizes, and ends as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.parts.gloo import GlooPool
from swav_ray.data.bad_images import BadImage
from swav_ray.evaluate.fit.worker import Saves
from swav_ray.run import measurements
from swav_ray.run.events import Events
from swav_ray.run.layout import SUMMARY, checkpoint_folder
from swav_ray.run.messages import Judged, Leaving, Resizing, Resumed, Stopped
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from swav_ray.training.control import Request
from swav_ray.training.coordinator import NodeLeaves
from swav_ray.training.distributed import World
from tests.evaluate.fit import toy
from tests.evaluate.fit.toy import STEPS, run


@pytest.fixture(autouse=True)
def torch_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker sets torch up for its process. TensorBoard takes seconds to import."""
    monkeypatch.setattr(Events, "write", lambda *_: None)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def outcome(folder: Place) -> tuple[object, ...]:
    """What a finished evaluation left, but for times."""
    records = [(record["step"], record["loss"], record["ids"]) for record in read_metrics(folder)]
    return records, measurements.read(folder), json.loads((folder / SUMMARY).read_bytes())


@pytest.fixture
def undisturbed(tmp_path: Path) -> tuple[object, ...]:
    run(place(tmp_path / "undisturbed"))
    return outcome(place(tmp_path / "undisturbed"))


def test_it_judges_each_epoch_and_ends_with_a_checkpoint_and_a_summary(tmp_path: Path) -> None:
    folder = place(tmp_path)
    events = run(folder).events
    records, rows, summary = outcome(folder)
    assert [step for step, _, _ in records] == list(range(STEPS))
    assert [(row["step"], row["epoch"]) for row in rows] == [(3, 1), (6, 2), (9, 3)]
    assert summary["weight"] == rows[-1]["weight"]
    assert [event.epoch for event in events if isinstance(event, Judged)] == [1, 2, 3]
    assert checkpoint.steps(folder)[-1] == STEPS
    assert events[-1] == "saved"


@pytest.mark.parametrize("stop", range(STEPS - 1))
def test_stopped_after_any_step_it_resumes_as_if_it_had_not_stopped(
    stop: int, tmp_path: Path, undisturbed: tuple[object, ...]
) -> None:
    folder = place(tmp_path / "stopped")
    first = run(folder, {stop: Request.STOP})
    assert first.events[-2:] == [Stopped(stop + 1), "saved"]
    assert first.given.closed
    second = run(folder)
    assert second.events[:2] == [Resumed(stop + 1, 1), f"begin {stop + 1}"]
    assert outcome(folder) == undisturbed


def test_a_stop_at_the_last_step_comes_too_late(tmp_path: Path, undisturbed: tuple[object, ...]) -> None:
    folder = place(tmp_path / "late")
    assert run(folder, {STEPS - 1: Request.STOP}).events[-1] == "saved"
    assert outcome(folder) == undisturbed


def test_killed_between_checkpoints_it_computes_again_what_was_lost(
    tmp_path: Path, undisturbed: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place(tmp_path / "killed")
    whole = toy.Line.step

    def dies(self: toy.Line, index: int, batch: object) -> object:
        if index == 5:
            raise KeyboardInterrupt
        return whole(self, index, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(toy.Line, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        run(folder, {3: Request.SAVE})
    assert checkpoint.steps(folder)[-1] == 4
    monkeypatch.undo()
    monkeypatch.setattr(Events, "write", lambda *_: None)
    assert run(folder).events[0] == Resumed(4, 1)
    assert outcome(folder) == undisturbed


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, undisturbed: tuple[object, ...]) -> None:
    folder = place(tmp_path / "damaged")
    run(folder, {1: Request.SAVE, 4: Request.STOP})
    steps = checkpoint.steps(folder)
    assert steps[-1] == 5
    (checkpoint_folder(folder, 5) / "training.safetensors").write_bytes(b"flipped")
    assert Resumed(steps[-2], 1) in run(folder).events
    assert outcome(folder) == undisturbed


def test_it_leaves_a_preempted_node_and_waits_for_a_resize_with_a_checkpoint(tmp_path: Path) -> None:
    leaving, resizing = place(tmp_path / "leaving"), place(tmp_path / "resizing")
    with pytest.raises(NodeLeaves):
        run(leaving, {0: Request.LEAVE})
    with pytest.raises(RuntimeError, match="the number of workers was to change"):
        run(resizing, {1: Request.RESIZE})
    assert checkpoint.steps(leaving) == [1]
    assert checkpoint.steps(resizing) == [2]


def test_it_tells_why_it_leaves(tmp_path: Path) -> None:
    for request, message in ((Request.LEAVE, Leaving(1)), (Request.RESIZE, Resizing(1))):
        coordinator = toy.InProcess({0: request})
        with pytest.raises(RuntimeError):
            toy.worker.run(toy.LineFit(), place(tmp_path / message.__class__.__name__), coordinator, Saves())
        assert message in coordinator.events


def test_a_finished_one_is_left_alone(tmp_path: Path) -> None:
    folder = place(tmp_path)
    run(folder)
    before = {entry.name: entry.etag_or_mtime for entry in folder.list()}
    assert run(folder).events == []
    assert {entry.name: entry.etag_or_mtime for entry in folder.list()} == before


def test_unreadable_images_past_the_budget_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = toy.batch_of

    def one_is_bad(step: int, rows: slice) -> object:
        batch = whole(step, rows)
        if step == 4:
            batch.bad.append(BadImage(17, "17.jpg", "truncated", "cut short", 3))
        return batch

    monkeypatch.setattr(toy, "batch_of", one_is_bad)
    coordinator = toy.InProcess()
    with pytest.raises(Exception, match="images cannot be read"):
        toy.worker.run(toy.LineFit(), place(tmp_path), coordinator, Saves())
    assert "17.jpg (truncated)" in coordinator.reason


def work(world: World, folder: str, stop: int) -> object:
    Events.write = lambda *_: None  # type: ignore[method-assign]
    run(place(folder), {stop: Request.STOP} if stop >= 0 else None, world=world)
    return None


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_it_resumes_on_another_number_of_workers(
    workers: int, tmp_path: Path, gloo_pool: GlooPool, undisturbed: tuple[object, ...]
) -> None:
    folder = place(tmp_path / "other")
    gloo_pool.run(2, work, folder.uri, 3)
    assert checkpoint.steps(folder)[-1] == 4
    gloo_pool.run(workers, work, folder.uri, -1)
    records, rows, summary = outcome(folder)
    assert [(step, ids) for step, _, ids in records] == [(step, ids) for step, _, ids in undisturbed[0]]  # type: ignore[attr-defined]
    assert [loss for _, loss, _ in records] == pytest.approx([loss for _, loss, _ in undisturbed[0]], rel=1e-5)  # type: ignore[attr-defined]
    assert summary["weight"] == pytest.approx(undisturbed[2]["weight"], rel=1e-5)  # type: ignore[index]
    assert [row["epoch"] for row in rows] == [1, 2, 3]


@pytest.mark.s3
def test_on_s3_it_resumes_as_on_a_disk(s3: str, undisturbed: tuple[object, ...]) -> None:
    folder = place(s3) / "evaluations" / "line"
    run(folder, {4: Request.STOP})
    assert Resumed(5, 1) in run(folder).events
    assert outcome(folder) == undisturbed
