"""A sweep read from its directory: which trial is best, which trials may be compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.report.sweep.record import SweepRecord, read_sweep
from swav_ray.storage.place import place
from tests.report.sweep.examples import write_search, write_trial


def test_the_best_is_the_best_of_those_that_finished(found: SweepRecord) -> None:
    assert found.best is not None
    assert found.best.name == "t_3"
    assert [trial.name for trial in found.ranked()][-1] == "t_8"
    assert {"t_9", "t_a"}.isdisjoint(trial.name for trial in found.ranked())
    lines = found.summary_lines()
    assert lines[0] == "11 trials: 8 finished, 1 stopped, 1 collapsed, 1 failed; 52,000 images, 12.0 min"
    assert "collapsed: trial t_9: the loss is stuck" in lines
    why = "stopped early: by the scheduler after epoch 2, at 71 where the median of 8 others was "
    assert next(line for line in lines if line.startswith("t_8: ")).startswith(f"t_8: {why}")


@pytest.mark.parametrize(
    ("own", "state", "told"),
    [
        (50.0, "finished", "the recipe's own values: trial t_0, 50"),
        (50.0, "stopped", "the recipe's own values: trial t_0, 50 after 2 epochs"),
        (70.0, "finished", "these are the recipe's own values: no other finished trial is better"),
        (70.0, "collapsed", "best: trial t_1, kNN top-1, % 60: train.temperature 0.2"),
    ],
)
def test_the_best_is_set_beside_the_recipes_own_values(tmp_path: Path, own: float, state: str, told: str) -> None:
    write_search(tmp_path, ["knn"], {"train.temperature": "float"}, own={"train.temperature": 0.1})
    write_trial(tmp_path, "t_0", state, {"train.temperature": 0.1}, [40.0, own])
    write_trial(tmp_path, "t_1", "finished", {"train.temperature": 0.2}, [40.0, 60.0])
    assert read_sweep(place(tmp_path)).summary_lines()[-1] == told


def test_a_trial_that_pbt_brought_to_the_recipes_values_is_not_the_recipe(tmp_path: Path) -> None:
    write_search(tmp_path, ["knn"], {"train.temperature": "float"}, own={"train.temperature": 0.1})
    write_trial(tmp_path, "t_0", "stopped", {"train.temperature": 0.2}, [40.0])
    write_trial(tmp_path, "t_0", "finished", {"train.temperature": 0.1}, [50.0], generation=1, first=1)
    assert read_sweep(place(tmp_path)).of_recipe is None


def test_generations_of_a_trial_are_one_line_of_it(tmp_path: Path) -> None:
    write_search(tmp_path, ["knn"], {"a": "x"})
    write_trial(tmp_path, "t_0", "replaced", {"a": 1}, [10.0, 11.0])
    write_trial(tmp_path, "t_0", "finished", {"a": 2}, [20.0, 21.0], generation=1, first=2)
    (trial,) = read_sweep(place(tmp_path)).trials
    assert "Population-based training changed" in read_sweep(place(tmp_path)).caveat
    assert (trial.generations, trial.values, trial.state, trial.seconds) == (2, {"a": 2}, "finished", 120.0)
    assert [row["knn_top1"] for row in trial.rows] == [10.0, 11.0, 20.0, 21.0]


def test_several_objectives_have_a_front(tmp_path: Path) -> None:
    write_search(tmp_path, ["knn", "images"], {"a": "x"})
    for name, knn in {"short": [50.0], "long": [50.0, 60.0], "wasteful": [40.0, 45.0]}.items():
        write_trial(tmp_path, name, "finished", {"a": name}, knn)
    assert [trial.name for trial in read_sweep(place(tmp_path)).pareto()] == ["long", "short"]


def test_a_stopped_trial_is_set_beside_others_at_the_epoch_of_the_decision(tmp_path: Path) -> None:
    """It trains on while the scheduler decides; what it then measured is not why it was stopped."""
    write_search(tmp_path, ["knn"], {"train.temperature": "float"})
    write_trial(tmp_path, "t_0", "finished", {"train.temperature": 0.1}, [40.0, 50.0, 50.0])
    reason = "by the scheduler after epoch 2"
    write_trial(tmp_path, "t_1", "stopped", {"train.temperature": 0.2}, [30.0, 20.0, 60.0], reason=reason)
    line = next(line for line in read_sweep(place(tmp_path)).summary_lines() if line.startswith("t_1: "))
    assert line.endswith("after epoch 2, at 20 where the median of 1 others was 50")
