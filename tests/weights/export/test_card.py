"""The model card says what the weights are, where they come from, and what is not known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swav_ray import settings
from swav_ray.config import replace as configured
from swav_ray.recipes import quickstart
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from swav_ray.training.learner import Learner
from swav_ray.weights.backbone import load_backbone
from swav_ray.weights.export import card
from swav_ray.weights.export.facts import facts_of
from swav_ray.weights.export.formats import FORMATS
from swav_ray.weights.export.source import Source
from tests.weights import foreign
from tests.weights.export.test_figures import evaluate


@pytest.fixture
def run_dir(tmp_path: Path) -> Place:
    """A finished run of ten steps."""
    folder = place(tmp_path) / "mine"
    config = configured(
        quickstart(),
        run={"name": "mine"},
        model={"width": 0.125, "hidden_dim": 6, "output_dim": 4, "prototypes": (5,)},
        train={"global_batch_size": 4},
    )
    (folder / "config.yaml").write_bytes(settings.to_yaml(config).encode())
    checkpoint.write(folder, checkpoint.snapshot(Learner(config, 10), 10, 60.0))
    summary = {"steps": 10, "epochs": 24, "images": 6000, "knn_top1": {"trained": 54.4, "chance": 11.2}}
    (folder / "summary.json").write_bytes(json.dumps(summary).encode())
    return folder


def made(where: Place | str, name: str = "safetensors", licence: str = "") -> str:
    backbone = load_backbone(where)
    about = {"file": "x.safetensors", "sha256": "f" * 64, "difference": "largest difference 0"}
    return card.card(FORMATS[name], Source(backbone), facts_of(backbone), licence=licence, **about)


def test_a_runs_card_has_its_training_and_its_figures(run_dir: Place) -> None:
    sha256 = load_backbone(run_dir).origin.sha256
    evaluate(run_dir, sha256, 61.0)
    text = made(run_dir)
    assert "# mine, step 10" in text
    assert "| data | shapes://, 6,000 images |" in text
    assert "| epochs | 1 of 40 |" in text
    assert "| images seen | 40 |" in text
    assert "| top-1, trained | 54.4% | kNN during training, k 20, T 0.07, on held-out images |" in text
    assert "| top-1 | 61% [58, 64] | knn (version 1, 0123456789ab), 1,000 images of s3://b/val |" in text
    assert "| std | 0.228 | 0.224 | 0.225 |" in text
    assert "Trained from random weights" in text
    assert f"sha256 `{sha256}`" in text
    assert f"sha256 `{'f' * 64}`" in text
    assert settings.to_yaml(quickstart()).splitlines()[0] in text


def test_somebodys_weights_have_a_card_that_admits_what_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(foreign.saved(foreign.split(foreign.model().state_dict())[0]))
    text = made(str(tmp_path / "x.pth"))
    assert "# resnet18 backbone" in text
    assert "## Training\n\nNot known." in text
    assert "## Figures\n\nNone is known." in text
    assert "Unknown: " in text
    assert "| std | 0.229 | 0.224 | 0.225 |" in text
    assert "## Licence\n\nCC BY 4.0\n" in made(str(tmp_path / "x.pth"), licence="CC BY 4.0")


def test_the_authors_names_bring_the_authors_licence_to_mind(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(foreign.saved(foreign.published(foreign.model().state_dict())))
    assert "CC BY-NC 4.0" in made(str(tmp_path / "x.pth"))


def test_the_licence_of_what_a_run_started_from_is_asked_for(run_dir: Place) -> None:
    backbone = load_backbone(run_dir)
    init = {"place": "s3://b/swav.pth", "layout": "SwAV as published"}
    backbone.origin = replace(backbone.origin, about=replace(backbone.origin.about, init=init))
    about = {"file": "x", "sha256": "", "difference": "", "licence": ""}
    text = card.card(FORMATS["safetensors"], Source(backbone), facts_of(backbone), **about)
    assert "Unknown. The run started from `s3://b/swav.pth`" in text
    assert "CC BY-NC 4.0" in text


def test_detectrons_settings_say_rgb_and_the_deviation_in_255ths(tmp_path: Path) -> None:
    torch.save(foreign.split(foreign.model(width=1).state_dict())[0], tmp_path / "x.pth")
    text = made(str(tmp_path / "x.pth"), "detectron2")
    assert "PIXEL_STD: [58.395, 57.12, 57.375]" in text
    assert "FORMAT: RGB" in text
    assert "RES2_OUT_CHANNELS: 64" in text


def test_pixels_are_said_to_be_normalised_in_the_network(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(foreign.saved(foreign.model().state_dict()))
    backbone = load_backbone(str(tmp_path / "x.pth"))
    source = Source(backbone, pixels=True)
    facts = replace(facts_of(backbone))
    about = {"file": "x.onnx", "sha256": "", "difference": "", "licence": ""}
    assert "normalises them itself" in card.card(FORMATS["onnx"], source, facts, **about)
