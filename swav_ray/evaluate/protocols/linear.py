"""The linear protocol of the paper: one linear layer on a frozen backbone, trained on random crops for 100 epochs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from swav_ray.command_line import Parser
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.features.splits import Split
from swav_ray.evaluate.fit.classify.frozen import FrozenFit
from swav_ray.evaluate.fit.classify.images import CROP, LabelledImages
from swav_ray.evaluate.fit.classify.material import Material
from swav_ray.evaluate.fit.classify.outcome import TOP1
from swav_ray.evaluate.fit.classify.training import COSINE, Training
from swav_ray.evaluate.protocols.options import add_training, as_published, changes, trained_with
from swav_ray.evaluate.results.protocol import Protocol

PUBLISHED = Training(epochs=100, batch=256, lr=0.3, weight_decay=1e-6, decay=COSINE)
_SWEEP_LRS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_SWEEP_WEIGHT_DECAYS = (0.0, 1e-6, 1e-5, 1e-4, 1e-3)
_HELD_OUT = 0.1  # of the train split, to choose a head of a sweep by
_IMAGENET_CLASSES = 1000
_PUBLISHED_TOP1 = 75.3  # of the published 800-epoch weights on ImageNet


def add_options(parser: Parser) -> None:
    """The protocol's own options."""
    add_training(parser, PUBLISHED)
    parser.add_argument(
        "--sweep",
        action="store_true",
        help=f"train {len(_SWEEP_LRS) * len(_SWEEP_WEIGHT_DECAYS)} learning rates and weight decays at once, on one "
        "stream of features, and choose by a tenth of --train that is not trained on",
    )


def protocol(options: Mapping[str, Any]) -> Protocol:
    """What it is with these options."""
    training = trained_with(PUBLISHED, options)
    settings: dict[str, Any] = {
        "classifier": "linear, weights normal with deviation .01, on the average-pooled features of a frozen network",
        "crop": CROP,
        "validation": "centre crop",
        "tail of an epoch": "left out",
    } | training.settings()
    if options["sweep"]:
        settings |= {
            "lr": list(_SWEEP_LRS),
            "weight_decay": list(_SWEEP_WEIGHT_DECAYS),
            "chosen by": f"a {_HELD_OUT:.0%} part of the train split, stratified, seed 0, not trained on",
        }
    return Protocol(
        name="linear",
        version=1,
        settings=settings | as_published(training == PUBLISHED and not options["sweep"]),
        source="Caron et al. 2020, section 4.1 and appendix; eval_linear.py published with it",
    )


def fit(options: Mapping[str, Any], material: Material) -> FrozenFit:
    """What is trained. Raises EvaluationError if it cannot be."""
    training = trained_with(PUBLISHED, options)
    train, held_out = material.train, None
    pairs = [(training.lr, training.weight_decay)]
    if options["sweep"]:
        train, held_out = _hold_out(train)
        pairs = list(itertools.product(_SWEEP_LRS, _SWEEP_WEIGHT_DECAYS))
    replace(material, train=train).check(training.batch)
    splits = {"val": material.val} if held_out is None else {"val": material.val, "train": held_out}
    found, notes = material.readable(**splits)
    return FrozenFit(
        protocol=protocol(options),
        training=training,
        lrs=[lr for lr, _ in pairs],
        weight_decays=[decay for _, decay in pairs],
        images=LabelledImages.of(material, train, training),
        backbone=material.backbone,
        val=found["val"],
        held_out=found.get("train"),
        published={TOP1: _PUBLISHED_TOP1} if len(train.classes) == _IMAGENET_CLASSES else {},
        notes=changes(PUBLISHED, training) + notes,
    )


def _hold_out(train: Split) -> tuple[Split, Split]:
    """A split in two, stratified: what is trained on, and what a head is chosen by."""
    from sklearn.model_selection import train_test_split

    if np.bincount(train.labels)[np.unique(train.labels)].min() < 2:
        raise EvaluationError(
            f"--sweep: holds images of each class out, and --train {train.manifest.root} has one of a class"
        )
    rows = np.arange(len(train.ids))
    learn, judge = train_test_split(rows, test_size=_HELD_OUT, stratify=train.labels, random_state=0)
    return train.rows(np.sort(learn)), train.rows(np.sort(judge))
