"""A backbone out of anybody's file computes what the network that wrote it did, on images prepared as in training."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from PIL import Image

from swav_ray import settings
from swav_ray.config import Config, replace
from swav_ray.data.crops.center_crop import center_crop
from swav_ray.data.decoding.choices import Decoding
from swav_ray.data.decoding.decode import decode
from swav_ray.model.normalize import normalize
from swav_ray.recipes import quickstart
from swav_ray.run.about import About
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from swav_ray.training.description import about_of
from swav_ray.training.learner import Learner
from swav_ray.weights.backbone import Preprocess, load_backbone
from swav_ray.weights.read import WeightsError
from tests.weights import foreign

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def tiny() -> Config:
    return replace(
        quickstart(),
        model={"width": 0.125, "hidden_dim": 6, "output_dim": 4, "prototypes": (5,)},
        train={"global_batch_size": 4},
        eval={"image_size": 40},
    )


@pytest.fixture
def run_dir(tmp_path: Path) -> Place:
    """A run with two checkpoints, the older one the better by kNN."""
    folder = place(tmp_path) / "quickstart"
    (folder / "config.yaml").write_bytes(settings.to_yaml(tiny()).encode())
    learner = Learner(tiny(), 10)
    checkpoint.write(folder, checkpoint.snapshot(learner, 10, 60.0))
    with torch.no_grad():
        learner.model.conv1.weight.mul_(2)
    checkpoint.write(folder, checkpoint.snapshot(learner, 20, 50.0))
    return folder


@pytest.mark.parametrize(
    "write", [lambda state: state, foreign.published, foreign.vissl, foreign.solo_learn, foreign.lightly]
)
def test_every_layout_gives_the_features_of_the_network_that_wrote_it(
    tmp_path: Path, write: Callable[[Any], Any]
) -> None:
    network = foreign.model()
    (tmp_path / "x.pth").write_bytes(foreign.saved(write(network.state_dict())))
    backbone = load_backbone(str(tmp_path / "x.pth"))
    with torch.no_grad():
        assert torch.equal(backbone(IMAGES), network.features(IMAGES))
    assert backbone.feature_dim == 64
    assert not backbone.training


def test_torchvisions_own_network_gives_its_own_features(tmp_path: Path) -> None:
    network = torchvision.models.resnet18().eval()
    torch.save(network.state_dict(), tmp_path / "x.pth")
    backbone = load_backbone(str(tmp_path / "x.pth"))
    network.fc = torch.nn.Identity()
    with torch.no_grad():
        assert torch.equal(backbone(IMAGES), network(IMAGES))
    assert backbone.preprocess.std == (0.229, 0.224, 0.225)
    assert "fc.weight: left out, a classifier" in backbone.describe()


def test_solo_learns_small_stem_pads_by_two(tmp_path: Path) -> None:
    network = foreign.model(small=True)
    (tmp_path / "x.ckpt").write_bytes(foreign.saved(foreign.solo_learn(network.state_dict())))
    backbone = load_backbone(str(tmp_path / "x.ckpt"))
    network.conv1.padding = (2, 2)
    with torch.no_grad():
        assert torch.equal(backbone(IMAGES), network.features(IMAGES))


def test_a_run_gives_its_newest_or_best_checkpoint_and_says_what_it_knows(run_dir: Place) -> None:
    newest, best = load_backbone(run_dir), load_backbone(run_dir, which="best")
    assert torch.equal(newest.trunk.conv1.weight, 2 * best.trunk.conv1.weight)
    about = newest.origin.about
    assert (about.run, about.step, about.samples_seen, about.image_size) == ("quickstart", 20, 80, 40)
    assert about.samples == (run_dir / "manifest.parquet").uri
    assert newest.preprocess.image_size == 40
    one = load_backbone((run_dir / "checkpoints" / "step-000000010").uri)
    assert torch.equal(one.trunk.conv1.weight, best.trunk.conv1.weight)
    assert one.origin.about.run == "quickstart"


def test_a_damaged_checkpoint_is_refused(run_dir: Place) -> None:
    file = run_dir / "checkpoints" / "step-000000020" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(WeightsError, match=r"model\.safetensors: differs from the size or checksum"):
        load_backbone(run_dir)


def test_a_model_file_by_itself_knows_its_preprocessing(run_dir: Place, tmp_path: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((run_dir / "checkpoints" / "step-000000020" / "model.safetensors").read_bytes())
    backbone = load_backbone(str(alone))
    assert backbone.preprocess == load_backbone(run_dir).preprocess
    assert backbone.origin.about.run == "quickstart"


def test_preprocessing_is_evaluations_to_the_last_bit(run_dir: Place) -> None:
    backbone = load_backbone(run_dir)
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    expected = normalize(torch.from_numpy(center_crop(image, 40))[None])[0]
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "PNG")
    for given in (image, Image.fromarray(image), sink.getvalue()):
        assert torch.equal(backbone.preprocess(given), expected)
    assert backbone(backbone.preprocess(image)[None]).shape == (1, 64)


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    halves = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in foreign.model().state_dict().items()
    }
    safetensors.torch.save_file(halves, tmp_path / "x.safetensors")
    assert load_backbone(str(tmp_path / "x.safetensors")).trunk.conv1.weight.dtype == torch.float32


def test_a_place_without_weights_and_an_unknown_choice_are_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no weights; give a run directory, a checkpoint, or a file"):
        load_backbone(str(tmp_path))
    with pytest.raises(WeightsError, match="which = 'last': must be one of newest, best"):
        load_backbone(str(tmp_path), which="last")


def test_loading_needs_no_ray() -> None:
    code = "import sys, swav_ray.weights.backbone; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_preprocessing_decodes_deep_images_as_the_run_did(tmp_path: Path) -> None:
    """16-bit greyscale of a small range is black unless the range is known."""
    learner, run_dir = Learner(tiny(), 10), place(tmp_path)
    decoding = Decoding(value_range=(100.0, 1100.0))
    about = about_of(tiny(), learner.model, decoding)
    folder = checkpoint.write(run_dir, checkpoint.snapshot(learner, 1, about=about))
    sink = io.BytesIO()
    Image.fromarray(np.linspace(0, 1500, 64 * 64).reshape(64, 64).astype(np.uint16)).save(sink, "PNG")
    preprocess = load_backbone(str(folder / "model.safetensors")).preprocess
    assert preprocess.decoding == decoding
    expected = normalize(torch.from_numpy(center_crop(decode(sink.getvalue(), decoding), 40))[None])[0]
    assert torch.equal(preprocess(sink.getvalue()), expected)
    assert not torch.equal(Preprocess(40)(sink.getvalue()), expected)


def test_a_header_says_mean_deviation_and_padding_of_other_peoples_weights(tmp_path: Path) -> None:
    """What an export of a foreign network must not lose."""
    network = foreign.model(small=True)
    about = About(architecture={"stem_padding": 2}, preprocessing={"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]})
    trunk, _ = foreign.split(network.state_dict())
    safetensors.torch.save_file(trunk, tmp_path / "x.safetensors", metadata=about.header())
    backbone = load_backbone(str(tmp_path / "x.safetensors"))
    assert (backbone.preprocess.mean, backbone.preprocess.std) == ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    network.conv1.padding = (2, 2)
    with torch.no_grad():
        assert torch.equal(backbone(IMAGES), network.features(IMAGES))


def test_a_damaged_header_counts_as_none(tmp_path: Path) -> None:
    about = About(run="r", preprocessing={"mean": "grey", "std": [1], "decoding": {"of_a_later_version": 1}})
    safetensors.torch.save_file(foreign.model().state_dict(), tmp_path / "x.safetensors", metadata=about.header())
    assert load_backbone(str(tmp_path / "x.safetensors")).preprocess == Preprocess(224)
