"""A trial's run directory begins with what a run begins with: also with the weights that it starts from."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.config import Config, ConfigError, replace
from swav_ray.launch.sweep.trial_directories import CopiedCheckpoint, copy_newest, make_directory
from swav_ray.recipes import quickstart
from swav_ray.run import checkpoint_files, layout
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from swav_ray.training.learner import Learner
from swav_ray.weights.initial import record
from tests.weights import foreign


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A run that starts from the weights of a small network."""
    file = tmp_path / "weights.pth"
    file.write_bytes(foreign.saved(foreign.model().state_dict()))
    model = {"width": 0.125, "hidden_dim": 6, "output_dim": 4, "prototypes": (5,)}
    return replace(quickstart(), model=model, train={"global_batch_size": 4, "init_from": str(file)})


def make(folder: Path, config: Config, start: CopiedCheckpoint | None = None) -> Place:
    manifest = place(folder / "manifest.parquet")
    manifest.write_bytes(b"samples")
    run_dir = place(folder / "trial")
    make_directory(run_dir, config, manifest, trial="t_0", generation=0, values={}, start=start)
    return run_dir


def test_a_trial_keeps_the_weights_that_it_starts_from(config: Config, tmp_path: Path) -> None:
    run_dir = make(tmp_path, config)
    assert record(run_dir)["place"] == config.train.init_from


def test_a_trial_that_copies_another_ones_checkpoint_still_knows_what_both_started_from(
    config: Config, tmp_path: Path
) -> None:
    """Its table compares with them, as that of any run."""
    source = place(tmp_path / "source")
    checkpoint.write(source, checkpoint.snapshot(Learner(config, 3), 6))
    (tmp_path / "copy").mkdir()
    assert copy_newest(source, 6, tmp_path / "copy") == 6
    run_dir = make(tmp_path, config, CopiedCheckpoint.read(tmp_path / "copy"))
    assert checkpoint_files.steps(run_dir) == [6]
    assert record(run_dir)["place"] == config.train.init_from


def test_a_trial_whose_network_the_weights_do_not_fit_has_no_directory(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"use --model\.backbone resnet18 --model\.width 0\.125"):
        make(tmp_path, replace(config, model={"width": 0.25}))
    assert not (place(tmp_path / "trial") / layout.TRIAL).exists()
