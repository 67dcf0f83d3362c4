"""A run that starts from given weights begins there, a frozen trunk stays as it was, and both ends are measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from swav_ray.config import Config
from swav_ray.data import manifest as manifests
from swav_ray.data.holdout import split
from swav_ray.model.swav import is_trunk
from swav_ray.run import layout
from swav_ray.run.about import About
from swav_ray.run.events import Events
from swav_ray.run.messages import Resumed
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from swav_ray.training.control import Request
from swav_ray.training.learner import build_model
from swav_ray.weights.initial import initial
from tests.in_process import STEPS, run, tiny

State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def torch_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker sets torch up for its process. TensorBoard takes seconds to import."""
    monkeypatch.setattr(Events, "write", lambda *_: None)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A model file of a run of another seed, with prototypes of another number."""
    model = build_model(tiny(run={"seed": 5}, model={"prototypes": (4,)}))
    file = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(model.state_dict(), file)
    return file


def frozen_for_an_epoch(weights: Path) -> Config:
    train = {"epochs": 2, "init_from": str(weights), "init_trunk_epochs": 1.0}
    return tiny(train=train, eval={"image_size": 16, "label_free_images": 0}, checkpoint={"every_epochs": 0.34})


def begin(config: Config, folder: Path) -> Place:
    """A run directory as the launcher leaves it to the workers: 24 images of two classes, and 6 that are held out."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 3)):
        for label, level in (("dark", 40), ("light", 180)):
            (folder / "images" / part / label).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(level, level + 40, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(folder / "images" / part / label / f"{index}.png")
    run_dir = place(folder / "run")
    manifests.save(manifests.build(str(folder / "images")), run_dir / layout.MANIFEST)
    start = initial(build_model(config), config, run_dir)
    assert start is not None
    start.save(run_dir)
    return run_dir


def state(run_dir: Place, step: int) -> State:
    return safetensors.torch.load((layout.checkpoint_folder(run_dir, step) / layout.MODEL).read_bytes())


def trunk(tensors: State) -> State:
    return {name: value for name, value in tensors.items() if is_trunk(name)}


def equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_frozen_trunk_stays_what_it_was_and_learns_afterwards(weights: Path, tmp_path: Path) -> None:
    config = frozen_for_an_epoch(weights)
    run_dir = begin(config, tmp_path)
    run(config, run_dir, {2: Request.STOP})
    given = safetensors.torch.load(weights.read_bytes())
    at_the_end_of_the_hold = state(run_dir, 3)
    assert equal(trunk(at_the_end_of_the_hold), trunk(given))
    head = "projection_head.0.weight"
    assert not torch.equal(at_the_end_of_the_hold[head], given[head])
    run(config, run_dir)
    assert not equal(trunk(state(run_dir, STEPS)), trunk(given))


def test_stopped_while_the_trunk_is_frozen_it_resumes_bit_for_bit_and_without_the_place(
    weights: Path, tmp_path: Path
) -> None:
    config = frozen_for_an_epoch(weights)
    straight, stopped = begin(config, tmp_path / "a"), begin(config, tmp_path / "b")
    run(config, straight)
    run(config, stopped, {1: Request.STOP})
    assert checkpoint.steps(stopped)[-1] == 2
    weights.unlink()
    assert initial(build_model(config), config, stopped) is None
    assert run(config, stopped).events[0] == Resumed(2, 1)
    assert [record["loss"] for record in read_metrics(stopped)] == [record["loss"] for record in read_metrics(straight)]
    assert equal(state(stopped, STEPS), state(straight, STEPS))


def test_the_summary_has_the_weights_before_and_after(weights: Path, tmp_path: Path) -> None:
    config = frozen_for_an_epoch(weights)
    run_dir = begin(config, tmp_path)
    run(config, run_dir)
    found = json.loads((run_dir / layout.SUMMARY).read_bytes())["knn_top1"]
    assert set(found) == {"trained", "init", "untrained", "pixels", "chance"}


def test_the_run_and_its_weights_say_what_they_are(weights: Path, tmp_path: Path) -> None:
    config = frozen_for_an_epoch(weights)
    run_dir = begin(config, tmp_path)
    run(config, run_dir)
    with safetensors.safe_open(
        (layout.checkpoint_folder(run_dir, STEPS) / layout.MODEL).local_path, framework="pt"
    ) as file:
        about = About.of_header(file.metadata())
        assert file.metadata()["format"] == "pt"
    assert (about.run, about.step, about.samples_seen) == (config.run.name, STEPS, 8 * STEPS)
    assert about.architecture["backbone"] == "resnet18"
    assert about.architecture["feature_dim"] == 64
    assert about.preprocessing["std"] == [0.228, 0.224, 0.225]
    assert about.preprocessing["resize_short_side"] == 16
    assert about.config["train"]["init_from"] == str(weights)
    assert about.init["place"] == str(weights)
    assert len(about.init["sha256"]) == 64
    alone = json.loads((run_dir / layout.ABOUT).read_bytes())
    assert {name: alone[name] for name in ("architecture", "preprocessing", "config", "init")} == {
        name: getattr(about, name) for name in ("architecture", "preprocessing", "config", "init")
    }
    assert place(about.held_out) == run_dir / layout.HELD_OUT
    held_out = pq.read_table((run_dir / layout.HELD_OUT).local_path)
    _, expected = split(manifests.load(run_dir / layout.MANIFEST), config.data)
    assert held_out["sample_id"].to_pylist() == expected.tolist()
    assert all(name.startswith("val/") for name in held_out["uri"].to_pylist())
