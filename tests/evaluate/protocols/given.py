"""What a protocol is given, made of random features, so that a protocol is tested in milliseconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from swav_ray.data.formats.rows import SCHEMA
from swav_ray.data.manifest import Manifest
from swav_ray.evaluate.features.labelled import Labelled
from swav_ray.evaluate.results.judged import Given
from swav_ray.run.about import About
from swav_ray.weights.architecture import Architecture
from swav_ray.weights.backbone import Backbone, Origin, Preprocess
from swav_ray.weights.layouts import Recognised
from tests.weights import foreign


def backbone(prototypes: tuple[int, ...] = (5,)) -> Backbone:
    """A narrow ResNet-18 with its head, for images of 16 pixels."""
    network = foreign.model(prototypes=prototypes)
    trunk, head = foreign.split(network.state_dict())
    parts = Recognised("SwAV as published", trunk, head, {}, {})
    architecture = Architecture("resnet18", 0.125, False, 3)
    made = architecture.build()
    made.load_state_dict(trunk, assign=True)
    return Backbone(made, architecture, Preprocess(16), Origin("here", "0" * 64, parts.layout, About(), parts)).eval()


def split(images: int, seed: int, classes: int = 4, spread: float = 2.0) -> Labelled:
    """Clouds of features around a centre a class."""
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(size=(classes, 64))
    labels = generator.integers(0, classes, images)
    features = (centers[labels] + spread * generator.normal(size=(images, 64))).astype(np.float32)
    names = [f"class {label}" for label in range(classes)]
    return Labelled(ids=np.arange(images), features=features, labels=labels, classes=names, place=f"split {seed}")


def label_sets(images: int, seed: int) -> Labelled:
    """Features that are sums of the centres of their classes."""
    one = split(images, seed)
    targets = (np.random.default_rng(seed).random((images, 4)) < 0.35).astype(np.int8)
    centers = np.random.default_rng(0).normal(size=(4, 10))
    noise = 1.5 * np.random.default_rng(seed + 100).normal(size=(images, 10))
    features = (targets @ centers + noise).astype(np.float32)
    return replace(one, features=features, labels=np.full(images, -1), targets=targets)


def given(train: Labelled | None = None, val: Labelled | None = None, manifest: Manifest | None = None) -> Given:
    """`manifest`: of the images of `val`, for the protocols that read them."""
    generator = np.random.default_rng(0)
    return Given(
        train=train or split(300, 1),
        val=val or split(200, 2),
        backbone=backbone(),
        device=torch.device("cpu"),
        manifest=manifest or Manifest(SCHEMA.empty_table(), "nowhere", [], ""),
        crops=lambda ids: generator.integers(0, 256, (len(ids), 16, 16, 3), np.uint8),
    )
