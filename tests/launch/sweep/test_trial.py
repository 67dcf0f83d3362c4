"""What a trial does with its run directory, without a cluster: how it is judged, copied, and begun again."""

from __future__ import annotations

import json
import math
import types
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from swav_ray.config import Config, replace
from swav_ray.launch.sweep import trial as trial_module
from swav_ray.launch.sweep.trial import Trial, TrialCollapsed, TrialInputs
from swav_ray.launch.sweep.trial_directories import copy_newest, newest_generation, read_trial
from swav_ray.recipes import quickstart
from swav_ray.report.trackers.process import Home
from swav_ray.run import measurements
from swav_ray.run.layout import SUMMARY
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from swav_ray.training.checkpoint import Retention

IMAGES = 2560
HEAD = "ab" * 28


def recipe(storage: Path) -> Config:
    """Two epochs of ten steps, of which none is warming up or frozen."""
    return replace(
        quickstart(),
        run={"storage": str(storage / "trials")},
        model={"prototypes": (30,)},
        train={"epochs": 2},
        queue={"length": 0},
        optim={"warmup_epochs": 0.0, "freeze_prototypes_steps": 0},
    )


class Remote:
    """An actor whose every method answers None."""

    def __getattr__(self, name: str) -> Any:
        return types.SimpleNamespace(remote=lambda *_: None)


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """A trial as Tune starts it; what it asks of Ray is answered without Ray."""
    monkeypatch.setattr(ray, "get_actor", lambda _: Remote())
    monkeypatch.setattr(ray, "get", lambda answer: answer)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: types.SimpleNamespace(get_node_id=lambda: HEAD))
    (tmp_path / "manifest.parquet").write_bytes(b"samples")
    made = Trial.__new__(Trial)
    made._trial_info = types.SimpleNamespace(trial_id="t_0")
    inputs = TrialInputs(recipe(tmp_path), None, place(tmp_path / "manifest.parquet"), IMAGES, "groups", Home.here())
    made.setup({"train.temperature": 0.1}, inputs)
    return made


def begin(trial: Trial, monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> dict[str, Any]:
    """Starts a trial whose training has ended with these losses, one an epoch; how its monitor was to be placed."""
    placed: dict[str, Any] = {}

    def options(**given: Any) -> Any:
        placed.update(given)
        return types.SimpleNamespace(remote=lambda **_: Remote())

    monkeypatch.setattr(trial_module, "Monitor", types.SimpleNamespace(options=options))
    run_dir = trial._directory()
    for epoch, loss in enumerate(losses, 1):
        row = {"step": 10 * epoch, "epochs": float(epoch), "samples_seen": IMAGES * epoch, "loss": loss}
        measurements.append(run_dir, row)
    (run_dir / SUMMARY).write_bytes(b"{}")
    return placed


def test_a_collapse_that_the_last_measurement_proves_is_no_finish(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(trial, monkeypatch, [math.log(30)] * 2)
    assert trial.step()["whole"] is False
    with pytest.raises(TrialCollapsed, match=r"the loss is stuck at 3.401"):
        trial.step()
    assert read_trial(trial._directory())["state"] == "collapsed"


def test_a_trial_that_learned_to_the_end_is_finished(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(trial, monkeypatch, [3.0, 2.5])
    trial.step()
    assert trial.step()["done"] is True
    assert read_trial(trial._directory())["state"] == "finished"


def test_the_monitor_is_on_the_trials_node_and_on_no_other(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials are on the head node; one on a spot node would end with it, and with it what the training reports."""
    placed = begin(trial, monkeypatch, [3.0])
    trial.step()
    assert (placed["scheduling_strategy"].node_id, placed["scheduling_strategy"].soft) == (HEAD, False)


def save(run_dir: Place, step: int, keep: int = 2) -> None:
    """A checkpoint whose weights say of which step it is."""
    weights = {"weight": torch.full((2,), float(step))}
    meta = {"schema": checkpoint.SCHEMA, "step": step}
    checkpoint.write(run_dir, checkpoint.Snapshot(step, weights, {"momentum": weights["weight"]}, meta))
    checkpoint.prune(run_dir, step, Retention(last=keep))


def saved(folder: Path, step: int, run_dir: Place) -> Path:
    """What Tune hands to a trial that continues from another's checkpoint."""
    save(run_dir, step)
    folder.mkdir()
    assert copy_newest(run_dir, 0, folder) == step
    return folder


def weight(run_dir: Place) -> float:
    found, _ = checkpoint.load_newest(run_dir)
    assert found is not None
    return float(found.model["weight"][0])


def test_a_copied_checkpoint_is_whole_though_training_drops_the_one_that_was_the_newest(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = trial._directory()
    save(run_dir, 10)
    read, late = Place.read_bytes, [20, 30]

    def read_slowly(where: Place) -> bytes:
        data = read(where)
        while where.name == "manifest.json" and late:  # what it names is gone before it is read
            save(run_dir, late.pop(0))
        return data

    monkeypatch.setattr(Place, "read_bytes", read_slowly)
    folder = tmp_path / "handed on"
    folder.mkdir()
    trial.save_checkpoint(str(folder))
    assert json.loads((folder / "origin.json").read_text()) == {"run_dir": run_dir.uri, "step": 30}
    names = json.loads((folder / "manifest.json").read_bytes())
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "manifest.json", "origin.json"])


def test_a_copy_that_was_killed_half_way_is_made_again_and_has_the_weights(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial._directory()
    better = saved(tmp_path / "better", 20, place(tmp_path / "trials" / "t_1"))
    write = Place.write_bytes

    def killed(where: Place, data: bytes) -> None:
        write(where, data)
        if where.name == "training.safetensors":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Place, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            trial.load_checkpoint(str(better))
    assert newest_generation(trial._trials, "t_0") == 0
    trial.load_checkpoint(str(better))
    assert trial._directory().name == "t_0-g1"
    assert weight(trial._directory()) == 20
    assert read_trial(trial._trials / "t_0")["state"] == "replaced"


def test_nothing_is_left_of_a_copy_that_was_killed_when_another_takes_its_place(trial: Trial, tmp_path: Path) -> None:
    trial._directory()
    save(place(tmp_path / "trials" / "t_0-g1"), 90)
    trial.load_checkpoint(str(saved(tmp_path / "better", 20, place(tmp_path / "trials" / "t_1"))))
    assert weight(trial._directory()) == 20


def test_a_copy_that_is_whole_resumes_where_it_was(trial: Trial, tmp_path: Path) -> None:
    trial._directory()
    better = saved(tmp_path / "better", 20, place(tmp_path / "trials" / "t_1"))
    trial.load_checkpoint(str(better))
    save(trial._directory(), 30)
    trial.load_checkpoint(str(better))
    assert weight(trial._directory()) == 30
