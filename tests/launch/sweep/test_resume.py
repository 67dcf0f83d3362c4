"""A sweep is resumed or left alone: one whose snapshot cannot be read, or that was another one, loses nothing."""

from __future__ import annotations

import dataclasses
import json
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune

from swav_ray.config import ConfigError, replace
from swav_ray.launch.sweep import resume
from swav_ray.launch.sweep.choice import Choice
from swav_ray.launch.sweep.design import make_design
from swav_ray.launch.sweep.resume import begin_or_resume, can_resume
from swav_ray.launch.sweep.tuner import make_tuner, quiet_tune
from swav_ray.recipes import quickstart
from swav_ray.report.terminal import Terminal
from swav_ray.storage.place import place
from tests.launch.conftest import tiny

CHOICE = Choice(objective=["knn"], searcher="random", scheduler="asha", num_samples=4, grace_epochs=3, seed=0, space={})


def begun(folder: Path, trials: int) -> dict[str, bytes]:
    """A sweep directory as it is when so many trials have begun, without a snapshot of Tune's; its files."""
    assert not begin_or_resume(CHOICE, quickstart(), place(folder))
    for number in range(trials):
        (folder / "trials" / f"t_{number}" / "checkpoints").mkdir(parents=True)
        (folder / "trials" / f"t_{number}" / "trial.json").write_text(json.dumps({"trial": f"t_{number}"}))
    return files(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_sweep_resumes_with_another_number_of_workers_and_not_with_another_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(tmp_path, trials=1)
    monkeypatch.setattr(resume, "can_resume", lambda _: True)
    free = replace(quickstart(), scaling={"num_workers": (2,)}, train={"max_refused_steps": 3}, run={"name": "other"})
    assert begin_or_resume(CHOICE, free, place(tmp_path))
    with pytest.raises(ConfigError, match=r"assignment.epsilon = 0.1: the sweep in .* began with 0.03; use that"):
        begin_or_resume(CHOICE, replace(quickstart(), assignment={"epsilon": 0.1}), place(tmp_path))
    with pytest.raises(ConfigError, match=r"search seed = 1: the sweep in .* began with 0; use that"):
        begin_or_resume(dataclasses.replace(CHOICE, seed=1), quickstart(), place(tmp_path))


def damage(folder: Path, how: str) -> None:
    snapshot = folder / "tune" / "experiment_state-2026-01-01_00-00-00.json"
    snapshot.parent.mkdir()
    (folder / "tune" / "tuner.pkl").write_bytes(b"")
    if how == "truncated":
        snapshot.write_text('{"trial_data": [["{')
    if how == "empty":
        snapshot.write_text('{"trial_data": []}')
    if how == "of another kind":
        snapshot.write_text("[]")


@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "of another kind"])
def test_trials_whose_snapshot_is_missing_or_damaged_are_left_untouched(tmp_path: Path, how: str) -> None:
    begun(tmp_path, trials=2)
    damage(tmp_path, how)
    before = files(tmp_path)
    told = r"holds 2 trials that cannot be resumed, since Ray Tune's snapshot in tune/ is missing or damaged; start"
    with pytest.raises(ConfigError, match=told):
        begin_or_resume(CHOICE, quickstart(), place(tmp_path))
    assert files(tmp_path) == before


def test_trials_whose_sweep_is_not_known_are_left_untouched(tmp_path: Path) -> None:
    begun(tmp_path, trials=1)
    (tmp_path / "sweep.yaml").unlink()
    before = files(tmp_path)
    with pytest.raises(ConfigError, match=r"holds 1 trials that cannot be resumed, since sweep.yaml is missing"):
        begin_or_resume(CHOICE, quickstart(), place(tmp_path))
    assert files(tmp_path) == before


def test_a_storage_that_does_not_answer_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path, trials=1)
    damage(tmp_path, "missing")

    def unavailable(_: str) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(tune, "ExperimentAnalysis", unavailable)
    with pytest.raises(OSError, match="no route to host"):
        begin_or_resume(CHOICE, quickstart(), place(tmp_path))


def test_a_sweep_that_was_killed_before_its_first_trial_begins_again(tmp_path: Path) -> None:
    begun(tmp_path, trials=0)
    damage(tmp_path, "missing")
    assert not begin_or_resume(CHOICE, quickstart(), place(tmp_path))


@pytest.fixture
def small_cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


class Trial(tune.Trainable):
    """Stands in for a trial: a training whose one measurement is its temperature."""

    def setup(self, config: dict[str, Any]) -> None:
        self._value = config["train.temperature"]

    def step(self) -> dict[str, Any]:
        return {"epochs": 1, "rankme": self._value, "done": True}


@pytest.mark.ray
def test_a_sweep_begun_with_modules_that_have_moved_since_resumes_with_its_trials(
    small_cluster: None, shapes: Path, tmp_path: Path
) -> None:
    """Tune pickles the classes of scheduler and callback into tuner.pkl, by the names of their modules."""

    def tuner(callback: tune.Callback, resumed: bool) -> tune.Tuner:
        design = make_design(
            tiny(shapes, tmp_path, "tiny"),
            {"train.temperature": tune.grid_search([0.1, 0.2])},
            place(tmp_path / "sweep"),
            Terminal(1.0),
            objective="rankme",
            searcher="grid",
            scheduler="asha",
            num_samples=2,
            grace_epochs=0,
            seed=0,
            translate=None,
        )
        return make_tuner(design, Trial, callback, resumed=resumed)

    moved = types.ModuleType("swav_ray_as_it_was")
    moved.Callback = type("Callback", (tune.Callback,), {"__module__": moved.__name__})  # type: ignore[attr-defined]
    sys.modules[moved.__name__] = moved
    with quiet_tune(False):
        before = tuner(moved.Callback(), resumed=False).fit()
        del sys.modules[moved.__name__]
        with pytest.raises(ModuleNotFoundError):
            pickle.loads((tmp_path / "sweep" / "tune" / "tuner.pkl").read_bytes())
        assert can_resume(place(tmp_path / "sweep" / "tune"))
        after = tuner(tune.Callback(), resumed=True).fit()
    ids = [sorted(str(result.metrics["trial_id"]) for result in results) for results in (before, after)]
    assert len(ids[0]) == 2
    assert ids[0] == ids[1]
