"""best.yaml of a finished sweep: a config that pretrain takes, with a warning if its values changed during training."""

from __future__ import annotations

import html
from pathlib import Path

import pytest
import yaml

from swav_ray.config import Config
from swav_ray.launch.sweep.sweep import _finish
from swav_ray.pretrain import parse
from swav_ray.recipes import quickstart
from swav_ray.report.terminal import Terminal
from swav_ray.storage.place import place
from tests.report.sweep.examples import write_search, write_trial


def finished(folder: Path, generations: int) -> Config:
    """The config that a sweep's best.yaml is, as `pretrain --config` takes it."""
    write_search(folder, ["knn"], {"train.temperature": "x"})
    for number in range(generations):
        state = "finished" if number == generations - 1 else "replaced"
        values = {"train.temperature": 0.1 + 0.1 * number}
        write_trial(folder, "t_0", state, values, [50.0 + number], generation=number, first=number)
    _finish(place(folder), quickstart(), None, 1.0, Terminal(1.0))
    return parse(["--config", str(folder / "best.yaml")])


def test_after_population_based_training_the_best_values_are_said_to_be_its_last_ones(tmp_path: Path) -> None:
    config = finished(tmp_path, generations=2)
    assert config.train.temperature == pytest.approx(0.2)
    first = (tmp_path / "best.yaml").read_text().splitlines()[0]
    assert first.startswith(
        "# Population-based training changed the best trial's values while it trained; these are its last"
    )
    assert first.removeprefix("# ") in html.unescape((tmp_path / "sweep.html").read_text())


def test_values_that_a_trial_was_trained_with_to_the_end_need_no_such_warning(tmp_path: Path) -> None:
    assert finished(tmp_path, generations=1).train.temperature == pytest.approx(0.1)
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["run"]["name"] == f"{tmp_path.name}_best"
    assert "Population-based" not in (tmp_path / "best.yaml").read_text() + (tmp_path / "sweep.html").read_text()
