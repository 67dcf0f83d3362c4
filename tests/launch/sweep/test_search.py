"""Optuna without a cluster: what it suggests passes, it learns, and a restart loses nothing."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from swav_ray.config import Config, ConfigError
from swav_ray.launch.sweep.search import Tpe
from swav_ray.launch.sweep.space import Values

SPACE = {"optim.base_lr": tune.loguniform(0.01, 10), "train.temperature": tune.uniform(0.05, 0.3)}


def below_one(values: Values) -> Config:
    if values["optim.base_lr"] >= 1:
        raise ConfigError("optim.base_lr", values["optim.base_lr"], "must be below 1")
    return Config()


def optuna(metrics: tuple[str, ...] = ("knn_top1",), modes: tuple[str, ...] = ("max",)) -> Tpe:
    start = [{"optim.base_lr": 0.1, "train.temperature": 0.1}]
    return Tpe(SPACE, below_one, metrics=list(metrics), modes=list(modes), seed=0, start=start)


def finished(search: Tpe) -> list[Any]:
    return [trial for trial in search._study.trials if trial.state.is_finished()]


def suggestions(search: Tpe, first: int, count: int) -> list[Values]:
    """Values of so many trials, each of which reports how near its temperature came to 0.2."""
    drawn = []
    for number in range(first, first + count):
        values = search.suggest(str(number))
        assert values is not None
        drawn.append(values)
        search.on_trial_complete(str(number), {"knn_top1": -abs(values["train.temperature"] - 0.2)})
    return drawn


def test_optuna_begins_with_the_given_values_suggests_what_passes_and_learns() -> None:
    drawn = suggestions(optuna(), 0, 60)
    assert drawn[0]["optim.base_lr"] == pytest.approx(0.1)
    assert all(values["optim.base_lr"] < 1 for values in drawn)
    errors = [abs(values["train.temperature"] - 0.2) for values in drawn]
    assert sum(errors[-20:]) < 0.7 * sum(errors[:20])


def test_a_space_of_which_nothing_passes_suggests_nothing() -> None:
    space = {"optim.base_lr": 2.0, "train.temperature": tune.grid_search([0.1, 0.2])}
    assert Tpe(space, below_one, metrics=["a"], modes=["max"], seed=0, start=[]).suggest("a") is None


@pytest.mark.parametrize(
    ("result", "error"), [({"knn_top1": 99.0}, True), ({"loss": 1.0}, False), ({"knn_top1": math.nan}, False)]
)
def test_a_trial_that_failed_or_was_not_measured_has_no_score(result: dict[str, float], error: bool) -> None:
    search = optuna()
    search.suggest("a")
    search.on_trial_complete("a", result, error=error)
    (told,) = finished(search)
    assert told.state.name == "FAIL"
    assert told.value is None


def test_optuna_weighs_several_objectives() -> None:
    search = optuna(("knn_top1", "images"), ("max", "min"))
    search.suggest("a")
    search.on_trial_complete("a", {"knn_top1": 50.0, "images": 1000})
    (told,) = finished(search)
    assert told.values == [50.0, 1000.0]


def test_a_sweep_that_was_interrupted_draws_the_same_values_as_one_that_was_not(tmp_path: Path) -> None:
    whole, interrupted = optuna(), optuna()
    expected = suggestions(whole, 0, 30)
    assert suggestions(interrupted, 0, 20) == expected[:20]
    interrupted.save(str(tmp_path / "state"))
    resumed = optuna()
    resumed.restore(str(tmp_path / "state"))
    assert suggestions(resumed, 20, 10) == expected[20:]


def test_a_sweep_begun_with_rays_own_optuna_search_resumes(tmp_path: Path) -> None:
    """Version 0.1 saved the attributes of Ray's OptunaSearch."""
    search = optuna()
    search.suggest("a")
    trial = search._study.ask(fixed_distributions=search._distributions)
    (tmp_path / "state").write_bytes(pickle.dumps({"_ot_study": search._study, "_ot_trials": {"b": trial}}))
    resumed = optuna()
    resumed.restore(str(tmp_path / "state"))
    resumed.on_trial_complete("b", {"knn_top1": 50.0})
    assert [told.value for told in finished(resumed)] == [50.0]
