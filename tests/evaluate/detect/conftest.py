"""A composed set in both layouts, of scikit-learn's digits on photos, and a network to fine-tune."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.compose_detection import compose
from swav_ray.evaluate.detect.annotations import Annotated
from swav_ray.evaluate.detect.coco import read_coco
from swav_ray.storage.place import place
from tests.evaluate.detect.digits import digits


@pytest.fixture(scope="package")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 training and 4 validation images of about 64 pixels: `coco/` and `voc/`."""
    folder = tmp_path_factory.mktemp("composed")
    compose(place(folder), digits(2), train=8, val=4, side=64, seed=0)
    return folder


@pytest.fixture(scope="package")
def train(composed: Path) -> Annotated:
    return read_coco(place(composed / "coco" / "annotations" / "instances_train.json"))


@pytest.fixture(scope="package")
def val(composed: Path) -> Annotated:
    return read_coco(place(composed / "coco" / "annotations" / "instances_val.json"))


@pytest.fixture
def draws() -> np.random.Generator:
    return np.random.default_rng(0)
