"""A sweep's page from its directory alone: who is best, what is compared, what is drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from swav_ray import settings
from swav_ray.recipes import quickstart
from swav_ray.report.sweep.page import Sweep, read_sweep, write_report
from swav_ray.report.sweep.plots import importances, pictures
from swav_ray.run import measurements
from swav_ray.storage.place import place

EPOCHS = 6


def write_trial(folder: Path, name: str, state: str, values: dict[str, Any], knn: list[float], **about: Any) -> None:
    generation = about.pop("generation", 0)
    run_dir = place(folder / "trials" / (f"{name}-g{generation}" if generation else name))
    whole = {"trial": name, "generation": generation, "values": values, "origin": None, "state": state}
    whole |= {"reason": "", "seconds": 60.0, **about}
    (run_dir / "trial.json").write_bytes(json.dumps(whole).encode())
    (run_dir / "config.yaml").write_bytes(settings.to_yaml(quickstart()).encode())
    first = about.get("first", 0)
    for number, value in enumerate(knn):
        epoch = first + number + 1
        row = {"step": epoch * 10, "epochs": float(epoch), "samples_seen": epoch * 1000, "loss": 3.0, "knn_top1": value}
        measurements.append(run_dir, row)


def write_search(folder: Path, objective: list[str], space: dict[str, str], own: dict[str, Any] | None = None) -> None:
    search = {"objective": objective, "searcher": "random", "scheduler": "asha", "num_samples": 12, "grace_epochs": 2}
    document = {"search": {**search, "seed": 0, "space": space}, "seconds": 720.0, "own": own}
    place(folder / "sweep.yaml").write_bytes(yaml.safe_dump(document).encode())


@pytest.fixture
def found(tmp_path: Path) -> Sweep:
    """Eight finished trials that temperature decides, one stopped while it led, one collapsed, one failed at once."""
    generator = np.random.default_rng(0)
    write_search(tmp_path, ["knn"], {"train.temperature": "float (0.05, 0.3)", "queue.length": "categorical [0, 512]"})
    for number in range(8):
        temperature = 0.05 + 0.03 * number
        end = 60 - 100 * abs(temperature - 0.14) + generator.normal(0, 0.3)
        values = {"train.temperature": temperature, "queue.length": [0, 512][number % 2]}
        write_trial(tmp_path, f"t_{number}", "finished", values, list(np.linspace(30, end, EPOCHS)))
    values = {"train.temperature": 0.3, "queue.length": 0}
    write_trial(tmp_path, "t_8", "stopped", values, [70.0, 71.0], reason="by the scheduler after epoch 2")
    write_trial(tmp_path, "t_9", "collapsed", values, [80.0, 80.0], reason="the loss is stuck")
    write_trial(tmp_path, "t_a", "failed", values, [], reason="no <room>")
    return read_sweep(place(tmp_path))


def test_the_best_is_the_best_of_those_that_finished(found: Sweep) -> None:
    assert found.best is not None
    assert found.best.name == "t_3"
    assert [trial.name for trial in found.ranked()][-1] == "t_8"
    assert {"t_9", "t_a"}.isdisjoint(trial.name for trial in found.ranked())
    lines = found.summary_lines()
    assert lines[0] == "11 trials: 8 finished, 1 stopped, 1 collapsed, 1 failed; 52,000 images, 12.0 min"
    assert "collapsed: trial t_9: the loss is stuck" in lines


@pytest.mark.parametrize(
    ("own", "state", "told"),
    [
        (50.0, "finished", "the recipe's own values: trial t_0, 50"),
        (50.0, "stopped", "the recipe's own values: trial t_0, 50 after 2 epochs"),
        (70.0, "finished", "these are the recipe's own values: nothing else that was trained to the end is better"),
        (70.0, "collapsed", "best: trial t_1, kNN top-1, % 60: train.temperature 0.2"),
    ],
)
def test_the_best_is_set_beside_the_recipes_own_values(tmp_path: Path, own: float, state: str, told: str) -> None:
    write_search(tmp_path, ["knn"], {"train.temperature": "float"}, own={"train.temperature": 0.1})
    write_trial(tmp_path, "t_0", state, {"train.temperature": 0.1}, [40.0, own])
    write_trial(tmp_path, "t_1", "finished", {"train.temperature": 0.2}, [40.0, 60.0])
    found = read_sweep(place(tmp_path))
    assert found.summary_lines()[-1] == told
    write_report(found, place(tmp_path))
    page = (tmp_path / "sweep.html").read_text()
    assert "<td>t_0 (recipe)</td>" in page
    assert "No picture of each parameter&#x27;s importance: it needs 8 trials" in page


def test_a_trial_that_pbt_brought_to_the_recipes_values_is_not_the_recipe(tmp_path: Path) -> None:
    write_search(tmp_path, ["knn"], {"train.temperature": "float"}, own={"train.temperature": 0.1})
    write_trial(tmp_path, "t_0", "stopped", {"train.temperature": 0.2}, [40.0])
    write_trial(tmp_path, "t_0", "finished", {"train.temperature": 0.1}, [50.0], generation=1, first=1)
    assert read_sweep(place(tmp_path)).of_recipe is None


def test_importance_compares_trials_at_an_epoch_that_enough_of_them_reached(found: Sweep) -> None:
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


def test_the_page_needs_no_other_file_and_escapes_what_it_shows(found: Sweep, tmp_path: Path) -> None:
    write_report(found, place(tmp_path))
    page = (tmp_path / "sweep.html").read_text()
    assert "Population-based" not in page
    assert page.count("data:image/png;base64,") == 4
    assert "no &lt;room&gt;" in page
    assert "http" not in page
    for name in ("sweep_curves", "sweep_cost", "sweep_parallel", "sweep_importance"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_an_empty_sweep_has_a_page_too(tmp_path: Path) -> None:
    write_search(tmp_path, ["knn"], {"a": "x"})
    empty = read_sweep(place(tmp_path))
    write_report(empty, place(tmp_path))
    assert empty.best is None
    page = (tmp_path / "sweep.html").read_text()
    assert "no trial has finished" in page
    assert "there is no best.yaml" in page


@pytest.mark.parametrize("state", ["running", "stopped", "failed"])
def test_trials_whose_objective_was_never_measured_are_drawn_as_far_as_they_came(tmp_path: Path, state: str) -> None:
    write_search(tmp_path, ["rankme"], {"a": "x"})
    write_trial(tmp_path, "t_0", state, {"a": 1}, [50.0])
    write_trial(tmp_path, "t_1", "failed", {"a": 2}, [])
    assert set(pictures(read_sweep(place(tmp_path)))) == {"sweep_curves", "sweep_cost"}


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
