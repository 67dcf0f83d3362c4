"""Linear transfer as the paper has it: one linear layer on a frozen backbone, for Places205 or iNaturalist18."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from swav_ray.command_line import Parser
from swav_ray.evaluate.fit.classify.frozen import FrozenFit
from swav_ray.evaluate.fit.classify.images import CROP, LabelledImages
from swav_ray.evaluate.fit.classify.material import Material
from swav_ray.evaluate.fit.classify.outcome import TOP1
from swav_ray.evaluate.fit.classify.training import DROPS, Training
from swav_ray.evaluate.protocols.options import add_training, as_published, changes, trained_with
from swav_ray.evaluate.results.protocol import Protocol

_PLACES = Training(epochs=28, batch=256, lr=0.01, weight_decay=1e-4, decay=DROPS, drops=(0.25, 0.5, 0.75), drop=0.1)
PUBLISHED = {"places205": _PLACES, "inaturalist18": replace(_PLACES, epochs=84)}
# Classes of the set, and top-1 of the published 800-epoch weights.
_FIGURES = {"places205": (205, 56.7), "inaturalist18": (8142, 48.6)}


def add_options(parser: Parser) -> None:
    """The protocol's own options."""
    parser.add_argument(
        "--like",
        choices=sorted(PUBLISHED),
        default="places205",
        help="whose training to take: " + ", ".join(f"{name} {one.epochs} epochs" for name, one in PUBLISHED.items()),
    )
    add_training(parser, _PLACES)


def protocol(options: Mapping[str, Any]) -> Protocol:
    """What it is with these options."""
    published = PUBLISHED[options["like"]]
    training = trained_with(published, options)
    settings = {
        "classifier": "linear, weights normal with deviation .01, on the average-pooled features of a frozen network",
        "crop": CROP,
        "validation": "centre crop",
        "tail of an epoch": "left out",
    }
    return Protocol(
        name=f"transfer-{options['like']}",
        version=1,
        settings=settings | training.settings() | as_published(training == published),
        source="Caron et al. 2020, section 4.2 and appendix",
    )


def fit(options: Mapping[str, Any], material: Material) -> FrozenFit:
    """What is trained. Raises EvaluationError if it cannot be."""
    training = trained_with(PUBLISHED[options["like"]], options)
    classes, top1 = _FIGURES[options["like"]]
    material.check(training.batch)
    found, notes = material.readable(val=material.val)
    return FrozenFit(
        protocol=protocol(options),
        training=training,
        lrs=[training.lr],
        weight_decays=[training.weight_decay],
        images=LabelledImages.of(material, material.train, training),
        backbone=material.backbone,
        val=found["val"],
        held_out=None,
        published={TOP1: top1} if len(material.train.classes) == classes else {},
        notes=changes(PUBLISHED[options["like"]], training) + notes,
    )
