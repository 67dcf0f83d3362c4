"""The pictures of a sweep: what is drawn, and of which trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.report.sweep.plots import importances, pictures
from swav_ray.report.sweep.record import SweepRecord, read_sweep
from swav_ray.storage.place import place
from tests.report.sweep.examples import write_search, write_trial


def test_importance_compares_trials_at_an_epoch_that_enough_of_them_reached(found: SweepRecord) -> None:
    result = importances(found)
    assert result is not None
    shares, trials, epoch = result
    assert (trials, epoch) == (8, 6.0)
    assert shares["train.temperature"] > 0.6
    assert sum(shares.values()) == pytest.approx(1)


def test_too_few_trials_have_no_importance(tmp_path: Path) -> None:
    write_search(tmp_path, ["knn"], {"a": "x"})
    for number in range(3):
        write_trial(tmp_path, f"t_{number}", "finished", {"a": number}, [1.0 * number])
    assert importances(read_sweep(place(tmp_path))) is None
    assert set(pictures(read_sweep(place(tmp_path)))) == {"sweep_curves", "sweep_cost", "sweep_parallel"}


@pytest.mark.parametrize("state", ["running", "stopped", "failed"])
def test_trials_whose_objective_was_never_measured_are_drawn_as_far_as_they_came(tmp_path: Path, state: str) -> None:
    write_search(tmp_path, ["rankme"], {"a": "x"})
    write_trial(tmp_path, "t_0", state, {"a": 1}, [50.0])
    write_trial(tmp_path, "t_1", "failed", {"a": 2}, [])
    assert set(pictures(read_sweep(place(tmp_path)))) == {"sweep_curves", "sweep_cost"}
