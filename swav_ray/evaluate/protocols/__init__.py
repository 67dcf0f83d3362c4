"""A file a protocol. Three kinds have a command each, and options of their own:

- on frozen features (`ON_FEATURES`): what it is (`PROTOCOL`) and one function that judges (`run`);
- those that train on labelled images (`ON_IMAGES`): `add_options`, `protocol` and `fit`, see `evaluate.fit`;
- those with places of their own, such as detection, which `evaluate.__main__` names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from swav_ray.command_line import Parser
from swav_ray.evaluate.fit.classify.material import Material
from swav_ray.evaluate.fit.task import Fit
from swav_ray.evaluate.protocols import (
    clusters,
    finetune,
    knn,
    label_free,
    linear,
    linear_fast,
    semisup,
    svm,
    svm_low_shot,
    transfer,
)
from swav_ray.evaluate.results.judged import Given, Judged
from swav_ray.evaluate.results.protocol import Protocol


@dataclass(frozen=True)
class OnFeatures:
    """A protocol that needs frozen features of two splits.

    Attributes:
        help: a line for `--help`. protocol: what it is. run: judges.
        labels: what it needs of an image: its "one" label, any number of labels ("sets"), or "none".
        flags: of its command, each another protocol on the same features in its place.
    """

    help: str
    protocol: Protocol
    run: Callable[[Given], Judged]
    labels: Literal["one", "sets", "none"] = "one"
    flags: Mapping[str, OnFeatures] = field(default_factory=dict)


@dataclass(frozen=True)
class OnImages:
    """A protocol that trains on labelled images of two splits.

    Attributes:
        help: a line for `--help`.
        add_options: adds its own options to its command.
        protocol: what it is with these options.
        fit: what is trained; raises EvaluationError if that cannot be.
    """

    help: str
    add_options: Callable[[Parser], None]
    protocol: Callable[[Mapping[str, Any]], Protocol]
    fit: Callable[[Mapping[str, Any], Material], Fit]


ON_FEATURES = {
    "knn": OnFeatures("weighted nearest neighbours by cosine", knn.PROTOCOL, knn.run),
    "linear-fast": OnFeatures("logistic regression; not the published protocol", linear_fast.PROTOCOL, linear_fast.run),
    "label-free": OnFeatures(
        "rank of features, codes and neighbours, without labels", label_free.PROTOCOL, label_free.run, labels="none"
    ),
    "svm": OnFeatures(
        "a linear SVM a class, judged by mean average precision, as on VOC07",
        svm.PROTOCOL,
        svm.run,
        labels="sets",
        flags={
            "low-shot": OnFeatures("learn from 1 to 96 images a class", svm_low_shot.PROTOCOL, svm_low_shot.run, "sets")
        },
    ),
    "clusters": OnFeatures("what the prototypes learned", clusters.PROTOCOL, clusters.run, labels="none"),
}
"""Protocols by their names on the command line."""
ON_IMAGES = {
    "linear": OnImages(
        "a linear layer on frozen features, 100 epochs", linear.add_options, linear.protocol, linear.fit
    ),
    "semisup": OnImages(
        "the network fine-tuned on 1% or 10% of the labels", semisup.add_options, semisup.protocol, semisup.fit
    ),
    "finetune": OnImages("the network fine-tuned on all labels", finetune.add_options, finetune.protocol, finetune.fit),
    "transfer": OnImages(
        "a linear layer on frozen features, as for Places205 and iNaturalist18",
        transfer.add_options,
        transfer.protocol,
        transfer.fit,
    ),
}
"""Protocols that train, by their names on the command line."""
