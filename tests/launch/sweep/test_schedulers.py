"""Schedulers without a cluster: what was reported before a restart counts, and what is mutated passes."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune

from swav_ray.config import ConfigError
from swav_ray.launch.sweep.schedulers import Asha, explorer, make_scheduler, mutate
from swav_ray.launch.sweep.space import Values
from swav_ray.run import measurements
from swav_ray.storage.place import place
from tests.launch.sweep.test_search import SPACE, below_one


class Restored(types.SimpleNamespace):
    """As much of a trial as schedulers look at."""

    def __hash__(self) -> int:
        return hash(self.trial_id)


def finished(name: str, folder: Path, values: list[float]) -> Any:
    """A trial of an earlier start of the sweep, as Tune's snapshot has it."""
    for number, value in enumerate(values):
        row = {"step": number + 1, "epochs": float(number + 1), "samples_seen": 8, "loss": 1.0, "knn_top1": value}
        measurements.append(place(folder / name), row)
    last = {"run_dir": str(folder / name)}
    return Restored(trial_id=name, status="TERMINATED", last_result=last)


def interrupted(name: str, folder: Path, values: list[float]) -> Any:
    """A trial that a killed sweep had not finished."""
    trial = finished(name, folder, values)
    trial.status, trial.last_result = "PENDING", {**trial.last_result, "epochs": float(len(values))}
    return trial


def running(name: str) -> Any:
    return types.SimpleNamespace(trial_id=name, status="RUNNING", last_result={})


def test_asha_stops_by_what_trials_reported_before_the_sweep_was_killed(tmp_path: Path) -> None:
    scheduler = make_scheduler("asha", SPACE, below_one, epochs=9, grace=1)
    assert isinstance(scheduler, Asha)
    scheduler.set_search_properties("knn_top1", "max")
    scheduler.on_trial_add(None, finished("a", tmp_path, [50.0] * 9))
    scheduler.on_trial_add(None, finished("b", tmp_path, [40.0]))
    scheduler.on_trial_add(None, running("c"))
    assert scheduler.on_trial_result(None, running("c"), {"epochs": 1.0, "knn_top1": 45.0}) == "STOP"
    scheduler.on_trial_add(None, running("d"))
    assert scheduler.on_trial_result(None, running("d"), {"epochs": 1.0, "knn_top1": 55.0}) == "CONTINUE"


@pytest.mark.parametrize("name", ["asha", "median"])
def test_a_trial_that_was_let_pass_is_not_judged_again_when_the_sweep_resumes(tmp_path: Path, name: str) -> None:
    scheduler = make_scheduler(name, SPACE, below_one, epochs=9, grace=1)
    scheduler.set_search_properties("knn_top1", "max")
    first = interrupted("first", tmp_path, [10.0, 11.0])
    # Tune adds the newest first, and a trial with a poor score may have been there before the better ones.
    others = [finished(other, tmp_path, [value] * 9) for other, value in (("d", 90.0), ("c", 80.0), ("b", 70.0))]
    poor = finished("poor", tmp_path, [1.0] * 9)
    for trial in (*others, first, poor):
        scheduler.on_trial_add(None, trial)
    again = [{"epochs": epoch, "knn_top1": value} for epoch, value in ((1.0, 10.0), (2.0, 11.0))]
    assert [scheduler.on_trial_result(None, first, row) for row in again] == ["CONTINUE", "CONTINUE"]
    assert scheduler.on_trial_result(None, first, {"epochs": 3.0, "knn_top1": 12.0}) == "STOP"


def test_pbt_refuses_what_cannot_change_in_a_running_training() -> None:
    with pytest.raises(ConfigError, match=r"scheduler = 'pbt': .*model.prototypes cannot change"):
        make_scheduler("pbt", {**SPACE, "model.prototypes": tune.choice([1, 2])}, below_one, epochs=9, grace=1)


OF_ALL_KINDS = {
    "range": tune.uniform(0.05, 0.3),
    "whole": tune.randint(1, 4),
    "list": tune.choice([1, 3, 5, 10]),
    "grid": tune.grid_search(["a", "b"]),
    "constant": 7,
}


def test_a_mutation_stays_inside_the_space_whatever_its_kind() -> None:
    generator = np.random.RandomState(0)
    values: Values = {"range": 0.29, "whole": 3, "list": 5, "grid": "a", "constant": 7}
    reached: dict[str, set[Any]] = {name: set() for name in values}
    for _ in range(200):
        values = mutate(values, OF_ALL_KINDS, generator)
        for name, value in values.items():
            reached[name].add(value)
    assert 0.05 <= min(reached["range"]) < max(reached["range"]) <= 0.3
    assert len(reached["range"]) > 50
    del reached["range"]
    assert reached == {"whole": {1, 2, 3}, "list": {1, 3, 5, 10}, "grid": {"a", "b"}, "constant": {7}}
    assert type(values["whole"]) is int


def test_a_value_of_a_range_moves_by_a_fifth_or_is_drawn_anew() -> None:
    generator = np.random.RandomState(0)
    moved = [mutate({"range": 0.2}, {"range": OF_ALL_KINDS["range"]}, generator)["range"] for _ in range(1000)]
    fifth = [value for value in moved if value == pytest.approx(0.16) or value == pytest.approx(0.24)]
    assert 0.7 < len(fifth) / len(moved) < 0.8


def test_population_based_training_trains_only_with_values_that_pass() -> None:
    explore = explorer(SPACE, below_one)
    values = {"optim.base_lr": 0.95, "train.temperature": 0.29}
    explored = [explore(dict(values)) for _ in range(50)]
    assert all(below_one(other) and other["train.temperature"] <= 0.3 for other in explored)
    assert any(other != values for other in explored)


def test_if_no_mutation_passes_the_copied_trials_values_are_kept() -> None:
    values = {"optim.base_lr": 0.5, "train.temperature": 0.1}

    def refuse(_: Values) -> Any:
        raise ConfigError("optim.base_lr", 0, "is refused")

    assert explorer(SPACE, refuse)(dict(values)) == values


def test_an_unknown_scheduler_is_told() -> None:
    with pytest.raises(ConfigError, match="scheduler = 'hyperband': must be one of asha, median, pbt, none"):
        make_scheduler("hyperband", SPACE, below_one, epochs=9, grace=1)
