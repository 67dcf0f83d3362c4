"""A checkpoint is measured as the worker that wrote it would have measured its model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.parts.small import small_config
from swav_ray.config import Config
from swav_ray.data import manifest as manifests
from swav_ray.data.holdout import split
from swav_ray.data.shapes import write_shapes
from swav_ray.evaluate.in_training.measurer import Measurer
from swav_ray.measuring.checkpoints import load_model, measure
from swav_ray.run import layout
from swav_ray.run.checkpoint_files import BadCheckpoint
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from swav_ray.training.distributed import World
from swav_ray.training.learner import Learner
from tests.training.test_checkpoint import advance


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(tmp_path: Path) -> tuple[Config, Place, Learner]:
    """A run directory with the checkpoint of a net that was trained for two steps, and its learner."""
    write_shapes(place(tmp_path / "images"), train=72, test=24, size=32, seed=0, rows_per_shard=40)
    config, run_dir = small_config(eval={"image_size": 32, "label_free_images": 64}), place(tmp_path / "run")
    manifests.save(manifests.build(str(tmp_path / "images")), run_dir / layout.MANIFEST)
    learner = Learner(config, 3)
    advance(learner, 0, 2)
    checkpoint.write(run_dir, checkpoint.snapshot(learner, 2))
    return config, run_dir, learner


def test_its_figures_are_those_of_the_model_that_trains_bit_for_bit(run: tuple[Config, Place, Learner]) -> None:
    config, run_dir, learner = run
    manifest = manifests.load(run_dir / layout.MANIFEST)
    measurer = Measurer(config, manifest, *split(manifest, config.data), device=torch.device("cpu"), world=World())
    expected = measurer.figures(learner.model, measurer.knn(learner.model))
    assert {"knn_top1", "rankme", "code_information"} < expected.keys()
    assert measure(config, run_dir, 2, "cpu") == expected


def test_its_model_has_the_saved_weights(run: tuple[Config, Place, Learner]) -> None:
    config, run_dir, learner = run
    saved = load_model(config, run_dir, 2).state_dict()
    assert saved.keys() == learner.model.state_dict().keys()
    assert all(torch.equal(saved[name], value) for name, value in learner.model.state_dict().items())


def test_a_missing_checkpoint_is_named(run: tuple[Config, Place, Learner]) -> None:
    config, run_dir, _ = run
    with pytest.raises(BadCheckpoint, match="step-000000007"):
        measure(config, run_dir, 7, "cpu")
