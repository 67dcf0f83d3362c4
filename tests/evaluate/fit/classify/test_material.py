"""What a classifier cannot be trained on is told in one line, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swav_ray.evaluate.fit.classify import network
from swav_ray.evaluate.protocols import ON_IMAGES
from swav_ray.training.distributed import World
from tests.evaluate.fit.classify import small

WORDS = {
    "linear": ("--epochs", "3", "--batch", "8"),
    "semisup": ("--percent", "10", "--epochs", "10", "--batch", "2"),
    "finetune": ("--epochs", "2", "--batch", "8"),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "colors"
    small.write_images(folder, 12, 6)
    return folder


def fit_of(which: str, images: Path) -> Any:
    return ON_IMAGES[which].fit(small.options(which, *WORDS[which]), small.material(images))


def test_a_validation_split_of_which_nothing_can_be_read_is_one_line(tmp_path: Path) -> None:
    small.write_images(tmp_path / "i", 12, 1)
    for file in (tmp_path / "i" / "val").rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"^--val .*: none of its 3 labelled images can be read; .*red"):
        fit_of("linear", tmp_path / "i")
    with pytest.raises(ValueError, match="none of its 3 labelled images can be read"):
        network.Network(fit_of("finetune", tmp_path / "i"), torch.device("cpu"), World()).judge(1)


@pytest.mark.parametrize(
    ("which", "more", "told"),
    [
        ("linear", ("--batch", "37"), r"--batch 37: is more than the 36 labelled images of --train .*; give a smaller"),
        ("semisup", ("--percent", "1"), r"--percent 1: of 36 images .*; give --percent 10 or a list as --subset"),
        ("semisup", ("--batch", "256"), r"--batch 256: is more than the 3 labelled images"),
        ("finetune", ("--batch", "8", "--scaling.num_workers", "9"), r"--batch 8: is less than the 9 workers"),
    ],
)
def test_what_cannot_be_trained_is_told_before_anything_starts(
    which: str, more: tuple[str, ...], told: str, images: Path
) -> None:
    options = small.options(which, *WORDS[which], *more)
    material = small.material(images)
    with pytest.raises(ValueError, match=told):
        ON_IMAGES[which].fit(options, small.with_config(material, options["config"]))


def test_one_class_and_classes_that_are_not_in_train_are_told(tmp_path: Path) -> None:
    small.write_images(tmp_path / "i", 9, 4)
    for file in (tmp_path / "i" / "train" / "red").iterdir():
        file.write_bytes((tmp_path / "i" / "train" / "blue" / file.name).read_bytes())
    material = small.material(tmp_path / "i")
    options = small.options("linear", *WORDS["linear"])
    for keep, told in (((2,), "has one class; a classifier needs two"), ((0, 1), "1 of its classes have no image")):
        train = material.train.rows(np.flatnonzero(np.isin(material.train.labels, keep)))
        with pytest.raises(ValueError, match=told):
            ON_IMAGES["linear"].fit(options, small.with_train(material, train))
