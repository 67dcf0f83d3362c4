"""The semi-supervised protocol of the paper: the whole network is fine-tuned on 1% or 10% of the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from swav_ray.command_line import Parser
from swav_ray.data.labels.in_memory import samples_named
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.features.splits import Split
from swav_ray.evaluate.fit.classify.images import CROP, LabelledImages
from swav_ray.evaluate.fit.classify.material import Material
from swav_ray.evaluate.fit.classify.network import NetworkFit
from swav_ray.evaluate.fit.classify.outcome import TOP1, TOP5
from swav_ray.evaluate.fit.classify.training import DROPS, Training
from swav_ray.evaluate.protocols.finetune import check_network
from swav_ray.evaluate.protocols.options import add_training, as_published, changes, trained_with
from swav_ray.evaluate.results.protocol import Protocol
from swav_ray.storage.place import place

_TEN = Training(epochs=20, batch=256, lr=0.2, trunk_lr=0.01, weight_decay=0.0, decay=DROPS, drops=(0.6, 0.8), drop=0.2)
PUBLISHED = {10: _TEN, 1: replace(_TEN, lr=5.0, trunk_lr=0.02)}
_IMAGENET_CLASSES = 1000
_PUBLISHED_FIGURES = {10: {TOP1: 70.2, TOP5: 89.9}, 1: {TOP1: 53.9, TOP5: 78.5}}  # the 800-epoch weights on ImageNet
_EXAMPLES = 5


def add_options(parser: Parser) -> None:
    """The protocol's own options."""
    parser.add_argument("--percent", type=int, choices=sorted(PUBLISHED), default=10, help="of labels (%(default)s)")
    parser.add_argument(
        "--subset",
        default="",
        metavar="FILE",
        help="names of the labelled images, one a line, as the published lists for ImageNet; without it, a share of "
        "each class, by --seed",
    )
    add_training(parser, _TEN)


def protocol(options: Mapping[str, Any]) -> Protocol:
    """What it is with these options."""
    percent = options["percent"]
    training = trained_with(PUBLISHED[percent], options)
    settings = {
        "labels": f"{percent}%, " + ("a list of names" if options["subset"] else "of each class, by seed"),
        "network": "all of it trains; a new linear layer on the average-pooled features",
        "BatchNorm": "over the global batch",
        "crop": CROP,
        "validation": "centre crop",
        "tail of an epoch": "left out",
    }
    same = training == PUBLISHED[percent] and bool(options["subset"])
    return Protocol(
        name=f"semisup-{percent}",
        version=1,
        settings=settings | training.settings() | as_published(same),
        source="Caron et al. 2020, section 4.1 and appendix; eval_semisup.py published with it",
    )


def fit(options: Mapping[str, Any], material: Material) -> NetworkFit:
    """What is trained. Raises EvaluationError if it cannot be."""
    percent = options["percent"]
    training = trained_with(PUBLISHED[percent], options)
    check_network(material)
    if options["subset"]:
        train, notes = _listed(material.train, options["subset"])
    else:
        train, notes = _stratified(material.train, percent, training.seed), []
    kept = f"{len(train.ids):,} of {len(material.train.ids):,} images keep their labels"
    replace(material, train=train).check(training.batch)
    return NetworkFit(
        protocol=protocol(options),
        training=training,
        images=LabelledImages.of(material, train, training),
        backbone=material.backbone,
        val=material.val,
        published=_PUBLISHED_FIGURES[percent] if len(train.classes) == _IMAGENET_CLASSES else {},
        notes=[*changes(PUBLISHED[percent], training), *notes, kept],
    )


def _listed(train: Split, file: str) -> tuple[Split, list[str]]:
    """The images of a list."""
    ids, notes = samples_named(train.manifest, place(file))
    keep = np.isin(train.ids, ids)
    if not keep.any():
        raise EvaluationError(f"--subset {file}: names no labelled image of --train {train.manifest.root}")
    if left := len(ids) - int(keep.sum()):
        notes.append(f"{file}: {left:,} of its images have no label or are not to be learned from")
    return train.rows(np.flatnonzero(keep)), notes


def _stratified(train: Split, percent: int, seed: int) -> Split:
    """So many percent of each class, one image at least."""
    classes, counts = np.unique(train.labels, return_counts=True)
    if len(train.ids) * percent < 100 * len(classes):
        enough = [f"--percent {more}" for more in PUBLISHED if len(train.ids) * more >= 100 * len(classes)]
        raise EvaluationError(
            f"--percent {percent}: of {len(train.ids):,} images is fewer than one for each of the {len(classes)} "
            f"classes of --train {train.manifest.root}; give {' or '.join([*enough, 'a list as --subset'])}"
        )
    generator = np.random.default_rng([seed, percent])
    chosen = []
    for label, count in zip(classes, counts, strict=True):
        rows = np.flatnonzero(train.labels == label)
        chosen.append(generator.choice(rows, max(1, round(count * percent / 100)), replace=False))
    return train.rows(np.sort(np.concatenate(chosen)))
