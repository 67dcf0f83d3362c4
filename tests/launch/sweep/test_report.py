"""A sweep before its cluster and after it: what is refused leaves nothing behind, and what is best is told as it is."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray
import yaml
from ray import tune as ray_tune

from swav_ray.config import Config, ConfigError
from swav_ray.data import manifest as manifests
from swav_ray.data.manifest import Manifest
from swav_ray.pretrain import parse
from swav_ray.recipes import quickstart
from swav_ray.report.terminal import Terminal
from swav_ray.run.lease import Lease
from swav_ray.storage.place import place
from tests.launch.conftest import tiny
from tests.report.sweep.examples import write_search, write_trial

tune = importlib.import_module("swav_ray.launch.sweep.sweep")

SPACE = {"train.temperature": ray_tune.choice([0.1, 0.2])}


@pytest.fixture
def begin(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Calls `sweep` on a machine with one CPU, which is refused for that if for nothing else."""
    made = manifests.build(str(shapes))
    monkeypatch.setattr(tune, "manifest_of", lambda *_, **__: made)
    monkeypatch.setattr(tune, "connect", lambda _: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1.0})

    def call(space: dict[str, Any] = SPACE, **keywords: Any) -> None:
        tune.sweep(tiny(shapes, tmp_path, "tiny"), space, **keywords)

    return call


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"objective": "loss"}, "objective = 'loss'"),
        ({"objective": ["knn", "images"]}, "scheduler = 'asha': compares one objective"),
        ({"searcher": "optuna", "scheduler": "pbt"}, "searcher = 'optuna': suggests values once"),
        ({"searcher": "best"}, "searcher = 'best': must be one of"),
        ({"scheduler": "best"}, "scheduler = 'best': must be one of"),
        ({"num_samples": 0}, "num_samples = 0: must be at least 1"),
        ({"space": {"queue.length": 3}}, "no valid mix; .* queue.length = 3: must be 0 or at least"),
        ({}, "cpus_per_worker = 1.0: a trial needs 2 CPUs .* the cluster has 1"),
    ],
)
def test_a_refused_sweep_leaves_nothing_that_the_next_of_its_name_would_take_up(
    begin: Callable[..., None], tmp_path: Path, keywords: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        begin(**keywords)
    left = {entry.name for entry in place(tmp_path / "sweeps").list()}
    assert left <= {"tiny/running.json"}


def test_a_sweep_is_refused_while_another_of_its_name_runs_without_a_cluster_being_started(
    begin: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "connect", pytest.fail)
    other = Lease(place(tmp_path / "sweeps" / "tiny"), "tiny", print)
    other.acquire()
    with pytest.raises(ConfigError, match="name = 'tiny': is running already"):
        begin()
    other.release()


def unlabelled_training(manifest: Manifest) -> Manifest:
    """The data set with labels of its held-out images alone."""
    labels = np.where(np.isin(np.arange(len(manifest)), manifest.test_ids()), manifest.labels, -1)
    table, column = manifest.table, manifest.table.schema.get_field_index("label")
    table = table.set_column(column, "label", pa.array(labels, table.schema.field("label").type))
    return Manifest(table, manifest.root, manifest.classes, manifest.fingerprint)


def test_knn_needs_labels_of_training_images_too(
    begin: Callable[..., None], shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = unlabelled_training(manifests.build(str(shapes)))
    monkeypatch.setattr(tune, "manifest_of", lambda *_, **__: made)
    with pytest.raises(ConfigError, match="objective = 'knn': needs labels of training and held-out images"):
        begin(objective="knn")


def finished(folder: Path, generations: int) -> Config:
    """The config that a sweep's best.yaml is, as `pretrain --config` takes it."""
    write_search(folder, ["knn"], {"train.temperature": "x"})
    for number in range(generations):
        state = "finished" if number == generations - 1 else "replaced"
        values = {"train.temperature": 0.1 + 0.1 * number}
        write_trial(folder, "t_0", state, values, [50.0 + number], generation=number, first=number)
    tune._finish(place(folder), quickstart(), None, 1.0, Terminal(1.0))
    return parse(["--config", str(folder / "best.yaml")])


def test_after_population_based_training_the_best_values_are_told_to_be_the_last_ones(tmp_path: Path) -> None:
    config = finished(tmp_path, generations=2)
    assert config.train.temperature == pytest.approx(0.2)
    first = (tmp_path / "best.yaml").read_text().splitlines()[0]
    assert first.startswith(
        "# Population-based training changed the best trial's values while it trained; these are its last"
    )
    assert first.removeprefix("# ") in (tmp_path / "sweep.html").read_text().replace("&#x27;", "'")


def test_values_that_a_trial_was_trained_with_to_the_end_need_no_such_word(tmp_path: Path) -> None:
    assert finished(tmp_path, generations=1).train.temperature == pytest.approx(0.1)
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["run"]["name"] == f"{tmp_path.name}_best"
    assert "Population-based" not in (tmp_path / "best.yaml").read_text() + (tmp_path / "sweep.html").read_text()
