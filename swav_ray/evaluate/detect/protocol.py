"""The protocol of detection: the options of its command, and what it is with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from swav_ray.command_line import Parser, at_least_one, not_negative, whole_number
from swav_ray.evaluate.detect.settings import CHOICES, COCO_1X, FIGURES, PUBLISHED, VOC, Settings
from swav_ray.evaluate.results.protocol import Protocol

NAME = "detect"
_CLASSES = {"voc": 20, "coco": 80}  # of the sets that the published figures are of
_OF_RUNS = ("scaling", "data.max_bad_fraction")  # settings that mean the same here


def add_options(parser: Parser) -> None:
    """The protocol's own options."""
    parser.add_argument(
        "--variant",
        choices=list(PUBLISHED),
        default="",
        help="voc: Faster R-CNN C4, 24,000 iterations (usual for VOC's XML); coco-1x, coco-2x: Mask R-CNN FPN, 90,000 "
        "or 180,000 (1x: usual for COCO's JSON)",
    )
    parser.add_argument("--iterations", type=at_least_one, default=0, help="of the training; warm-up and drops follow")
    parser.add_argument("--batch", type=at_least_one, default=0, help="images a step (16); the rate follows")
    parser.add_argument("--lr", type=not_negative, default=0.0, help="learning rate (voc: 0.1, coco: 0.02)")
    parser.add_argument(
        "--image-size", type=at_least_one, default=0, help="short side in testing (800); all sizes and boxes follow"
    )
    parser.add_argument("--seed", type=whole_number, default=0, help="of weights, order and images (%(default)s)")
    parser.add_argument(
        "--save-seconds", type=not_negative, default=60.0, metavar="S", help="between checkpoints (%(default)g)"
    )
    parser.add_settings(*_OF_RUNS)


def variant_of(options: Mapping[str, Any], kind: str) -> str:
    """The variant that was asked for, or the usual one of data of this kind, "coco" or "voc"."""
    return options["variant"] or (VOC if kind == "voc" else COCO_1X)


def settings_of(options: Mapping[str, Any], variant: str) -> Settings:
    """The settings with these options."""
    return PUBLISHED[variant].changed(
        iterations=options["iterations"],
        batch_size=options["batch"],
        lr=options["lr"],
        image_size=options["image_size"],
        seed=options["seed"],
    )


def protocol(settings: Settings, variant: str, *, masks: bool) -> Protocol:
    """What it is with these settings."""
    return Protocol(
        name=NAME,
        version=1,
        settings={
            "variant": variant,
            **asdict(settings),
            "masks": masks,
            "batch norm": "trained, over the global batch",
            "trained": "every layer",
            "precision": "11 steps of recall (VOC 2007)" if settings.recalls == 11 else "101 steps of recall (COCO)",
            "choices": CHOICES,
            "as published": settings == PUBLISHED[variant],
        },
        source="Caron et al. 2020, section 4.2; torchvision's detectors",
    )


def published_figures(variant: str, kind: str, classes: int) -> Mapping[str, float]:
    """Of the paper's 800-epoch weights; none if this is other data."""
    return FIGURES[variant] if classes == _CLASSES[kind] else {}
