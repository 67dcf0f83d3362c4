"""A sweep before its cluster: what is wrong is refused by name, and leaves nothing behind."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray
from ray import tune

from swav_ray.config import ConfigError
from swav_ray.data import manifest as manifests
from swav_ray.data.manifest import Manifest
from swav_ray.launch.sweep import design, sweep
from swav_ray.launch.sweep.design import with_sweep_settings
from swav_ray.recipes import quickstart
from swav_ray.run.lease import Lease
from swav_ray.storage.place import place
from tests.launch.conftest import tiny

# `swav_ray.launch.sweep.sweep` is the function that the package exports.
sweep_module = importlib.import_module("swav_ray.launch.sweep.sweep")

SPACE = {"train.temperature": tune.choice([0.1, 0.2])}


@pytest.fixture
def begin(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Calls `sweep` on a machine with one CPU, which is refused for that if for nothing else."""
    made = manifests.build(str(shapes))
    monkeypatch.setattr(design, "manifest_of", lambda *_, **__: made)
    monkeypatch.setattr(sweep_module, "connect", lambda _: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1.0})

    def call(space: dict[str, Any] = SPACE, init_from: str = "", **keywords: Any) -> None:
        train = {"epochs": 3, "global_batch_size": 8, "init_from": init_from}
        sweep(tiny(shapes, tmp_path, "tiny", train=train), space, **keywords)

    return call


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"objective": "loss"}, "objective = 'loss'"),
        ({"objective": ["knn", "images"]}, "scheduler = 'asha': compares one objective"),
        ({"searcher": "optuna", "scheduler": "pbt"}, "searcher = 'optuna': suggests values once"),
        ({"searcher": "best"}, "searcher = 'best': must be one of"),
        ({"scheduler": "best"}, "scheduler = 'best': must be one of"),
        ({"init_from": "missing.pth"}, r"train\.init_from = 'missing\.pth': .*missing\.pth: holds no weights"),
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
    assert not (tmp_path / "sweeps").exists()


def test_a_sweep_is_refused_while_another_of_its_name_runs_without_a_cluster_being_started(
    begin: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "connect", pytest.fail)
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
    monkeypatch.setattr(design, "manifest_of", lambda *_, **__: made)
    with pytest.raises(ConfigError, match="objective = 'knn': needs labels of training and held-out images"):
        begin(objective="knn")


def test_checkpoints_outlive_a_copy_only_if_copies_are_made() -> None:
    assert with_sweep_settings(quickstart(), "pbt").checkpoint.keep_last == 5
    assert with_sweep_settings(quickstart(), "asha").checkpoint.keep_last == 2
