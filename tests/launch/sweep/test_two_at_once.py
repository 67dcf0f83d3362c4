"""Two elastic trials at a time, suggested by Optuna for two objectives, on a cluster that holds both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray import tune

from swav_ray.config import replace
from swav_ray.launch.sweep.sweep import sweep
from swav_ray.report.sweep.record import read_sweep
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import place
from tests.launch.sweep.test_sweep import EPOCHS, STEPS, placement_groups, recipe

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def six_cpus() -> Iterator[None]:
    ray.init(address="local", num_cpus=6, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def test_elastic_trials_of_optuna_run_side_by_side(
    six_cpus: None, shapes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base = replace(recipe(shapes, tmp_path), scaling={"num_workers": (1, 2)})
    results = sweep(
        base,
        {"model.width": tune.choice([0.1, 0.25]), "train.temperature": tune.loguniform(0.05, 0.3)},
        name="two",
        objective=["rankme", "images"],
        searcher="optuna",
        scheduler="none",
        num_samples=3,
    )
    assert "3 trials, 2 at a time; objective rankme, images; searcher optuna" in capfd.readouterr().out
    assert not results.errors
    sweep_dir = place(tmp_path / "sweeps" / "two")
    found = read_sweep(sweep_dir)
    assert [trial.state for trial in found.trials] == ["finished"] * 3
    assert len({trial.values["train.temperature"] for trial in found.trials}) == 3
    for trial in found.trials:
        records = read_metrics(sweep_dir / "trials" / trial.name)
        assert [record["step"] for record in records] == list(range(EPOCHS * STEPS))
        assert {record["workers"] for record in records} <= {1, 2}
        assert records[-1]["workers"] == 2
    assert placement_groups() == []
