"""Searchers and schedulers without a cluster: what is suggested passes, and what was reported is not forgotten."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from swav_ray.config import Config, ConfigError
from swav_ray.launch.sweep.search import Asha, Pbt, ValidOptuna, make_scheduler
from swav_ray.launch.sweep.space import Values
from swav_ray.run import measurements
from swav_ray.storage.place import place

SPACE = {"optim.base_lr": tune.loguniform(0.01, 10), "train.temperature": tune.uniform(0.05, 0.3)}


def below_one(values: Values) -> Config:
    if values["optim.base_lr"] >= 1:
        raise ConfigError("optim.base_lr", values["optim.base_lr"], "must be below 1")
    return Config()


def optuna(metric: Any = "knn_top1", mode: Any = "max") -> ValidOptuna:
    start = [{"optim.base_lr": 0.1, "train.temperature": 0.1}]
    return ValidOptuna(SPACE, below_one, metric=metric, mode=mode, seed=0, start=start)


def test_optuna_begins_where_told_suggests_what_passes_and_learns() -> None:
    search = optuna()
    drawn: list[Values] = []
    for number in range(60):
        values = search.suggest(str(number))
        assert values is not None
        below_one(values)
        drawn.append(values)
        search.on_trial_complete(str(number), {"knn_top1": -abs(values["train.temperature"] - 0.2)})
    assert drawn[0]["optim.base_lr"] == pytest.approx(0.1)
    errors = [abs(values["train.temperature"] - 0.2) for values in drawn]
    assert sum(errors[-20:]) < 0.7 * sum(errors[:20])


def test_a_failed_trial_has_no_score_for_optuna_whatever_it_reported() -> None:
    search = optuna()
    search.suggest("a")
    search.on_trial_complete("a", {"knn_top1": 99.0}, error=True)
    (told,) = [trial for trial in search._inner._ot_study.trials if trial.state.is_finished()]
    assert told.state.name == "FAIL"
    assert told.value is None


def test_optuna_weighs_several_objectives() -> None:
    search = optuna(["knn_top1", "images"], ["max", "min"])
    values = search.suggest("a")
    assert values is not None
    search.on_trial_complete("a", {"knn_top1": 50.0, "images": 1000})
    (told,) = [trial for trial in search._inner._ot_study.trials if trial.state.is_finished()]
    assert told.values == [50.0, 1000.0]


def test_optuna_remembers_after_a_restart(tmp_path: Path) -> None:
    search = optuna()
    search.suggest("a")
    search.on_trial_complete("a", {"knn_top1": 50.0})
    search.save(str(tmp_path / "state"))
    again = optuna()
    again.restore(str(tmp_path / "state"))
    assert [trial.value for trial in again._inner._ot_study.trials] == [50.0]


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
def test_a_trial_that_was_let_pass_is_not_judged_again_when_the_sweep_goes_on(tmp_path: Path, name: str) -> None:
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


def test_mutations_stay_in_the_space_and_pass() -> None:
    scheduler = make_scheduler("pbt", SPACE, below_one, epochs=9, grace=1)
    assert isinstance(scheduler, Pbt)
    clone = types.SimpleNamespace(config={"optim.base_lr": 0.95, "train.temperature": 0.29})
    for _ in range(50):
        values, _ = scheduler._get_new_config(None, clone)
        below_one(values)
        assert 0.05 <= values["train.temperature"] <= 0.3


def test_an_unknown_scheduler_is_told() -> None:
    with pytest.raises(ConfigError, match="scheduler = 'hyperband': must be one of asha, median, pbt, none"):
        make_scheduler("hyperband", SPACE, below_one, epochs=9, grace=1)
