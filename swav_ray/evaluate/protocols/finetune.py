"""Full fine-tuning: the whole network learns from all labels, as SimCLR and lightly's benchmarks do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swav_ray.command_line import Parser
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.fit.classify.images import CROP, LabelledImages
from swav_ray.evaluate.fit.classify.material import Material
from swav_ray.evaluate.fit.classify.network import NetworkFit
from swav_ray.evaluate.fit.classify.training import COSINE_BY_STEP, Training
from swav_ray.evaluate.protocols.options import add_training, as_published, changes, trained_with
from swav_ray.evaluate.results.protocol import Protocol

PUBLISHED = Training(epochs=30, batch=256, lr=0.05, trunk_lr=0.05, weight_decay=0.0, decay=COSINE_BY_STEP)


def add_options(parser: Parser) -> None:
    """The protocol's own options."""
    add_training(parser, PUBLISHED)


def protocol(options: Mapping[str, Any]) -> Protocol:
    """What it is with these options."""
    training = trained_with(PUBLISHED, options)
    settings = {
        "network": "all of it trains; a new linear layer on the average-pooled features",
        "BatchNorm": "over the global batch (our choice: the benchmark has each GPU's own)",
        "crop": CROP,
        "validation": "centre crop",
        "tail of an epoch": "left out",
    }
    return Protocol(
        name="finetune",
        version=1,
        settings=settings | training.settings() | as_published(training == PUBLISHED),
        source="Chen et al. 2020 (SimCLR), with the settings of lightly's ImageNet benchmark; the paper has none",
    )


def fit(options: Mapping[str, Any], material: Material) -> NetworkFit:
    """What is trained. Raises EvaluationError if it cannot be."""
    training = trained_with(PUBLISHED, options)
    check_network(material)
    material.check(training.batch)
    return NetworkFit(
        protocol=protocol(options),
        training=training,
        images=LabelledImages.of(material, material.train, training),
        backbone=material.backbone,
        val=material.val,
        published={},
        notes=changes(PUBLISHED, training),
    )


def check_network(material: Material) -> None:
    """Raises EvaluationError if there is no network that could train."""
    if not any(True for _ in material.backbone.trunk.parameters()):
        raise EvaluationError(
            f"{material.backbone.origin.layout}: has no network to fine-tune; linear and transfer take it"
        )
