"""The options that the protocols which train have in common, and what they change of a published training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from swav_ray.command_line import Parser, at_least_one, not_negative, whole_number
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.fit.classify.training import Training

_SETTINGS = ("scaling", "data.max_bad_fraction")  # of a run's, that mean the same here


def add_training(parser: Parser, published: Training) -> None:
    """Options that change a published training; one of them makes it another protocol, with another hash."""
    parser.add_argument("--epochs", type=at_least_one, default=0, help=f"of the training ({published.epochs})")
    parser.add_argument("--batch", type=at_least_one, default=0, help=f"images a step ({published.batch})")
    parser.add_argument("--lr", type=not_negative, help=f"of the classifier ({published.lr:g})")
    if published.trunk_lr:
        parser.add_argument("--trunk-lr", type=not_negative, help=f"of the network ({published.trunk_lr:g})")
    parser.add_argument(
        "--min-area",
        type=not_negative,
        help=f"smallest area of a random crop ({published.min_area:g} of the image); small images need more",
    )
    parser.add_argument("--seed", type=whole_number, default=0, help="of weights, order and crops (%(default)s)")
    parser.add_argument(
        "--save-seconds", type=not_negative, default=60.0, metavar="S", help="between checkpoints (%(default)g)"
    )
    parser.add_settings(*_SETTINGS)


def trained_with(published: Training, options: Mapping[str, Any]) -> Training:
    """The training with these options. Raises EvaluationError if one of them cannot be."""
    given = {name: options[name] for name in ("epochs", "batch") if options[name]}
    given |= {name: options[name] for name in ("lr", "trunk_lr", "min_area") if options.get(name) is not None}
    if not 0 < given.get("min_area", 1.0) <= 1:
        raise EvaluationError(
            f"--min-area {given['min_area']:g}: must be above 0 and at most 1, a fraction of the image"
        )
    return replace(published, seed=options["seed"], **given)


def as_published(same: bool) -> dict[str, Any]:
    """An entry of a protocol's settings: whether it is the published one."""
    return {"as published": same}


def changes(published: Training, training: Training) -> list[str]:
    """A note on what makes a training another one than the published one, if anything does."""
    before, now = published.settings(), training.settings()
    told = [f"{name} {now[name]} instead of {before[name]}" for name in now if now[name] != before[name]]
    return [f"not the published protocol: {'; '.join(told)}"] if told else []
