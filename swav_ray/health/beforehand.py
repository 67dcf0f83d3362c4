"""What is known to end badly before a run starts, with the reason and the remedy; one rule for runs and for sweeps.

A run is warned. A sweep refuses the mixes that teach nothing at all (`fatal`), since it would pay for them. The limits
are the paper's, the authors' advice in public threads, or were measured (docs/health.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from swav_ray.config import LEAST_IMAGES_A_PROTOTYPE, MOST_PROTOTYPES_A_SAMPLE, Config, ConfigError

_LONG_WARM_UP = 0.5  # of the run; the published runs warm up for a tenth of it at most
_ENLARGED = 1.5  # crop side over image side; beyond it a crop has no detail that a smaller one would lack


@dataclass(frozen=True)
class Concern:
    """A setting that runs and is known to end badly.

    Attributes:
        name: of the setting. value: what it is.
        why: what will happen, and what would be right.
        fatal: nothing at all would be learned by it, or by what it sets up.
    """

    name: str
    value: Any
    why: str
    fatal: bool = False

    def line(self) -> str:
        """As a person reads it."""
        return f"{self.name} = {self.value}: {self.why}"

    def error(self) -> ConfigError:
        """The same as a refusal."""
        return ConfigError(self.name, self.value, self.why)


def concerns(config: Config, images: int, *, side: int = 0) -> list[Concern]:
    """What a run of `config` on so many training images should be warned about.

    Args:
        side: median of the images' shorter sides, in pixels; 0: unknown.
    """
    steps_per_epoch = images // config.train.global_batch_size
    found = [_batch(config, images)] if not steps_per_epoch else []
    found += [*_codes(config), *_prototypes(config, images), *_queue(config, images, steps_per_epoch)]
    found += [*_schedule(config, steps_per_epoch), *_crops(config, side)]
    return found


def _batch(config: Config, images: int) -> Concern:
    batch = config.train.global_batch_size
    why = f"is more than the {images} training images, and a step needs a whole batch: use at most {images}"
    return Concern("train.global_batch_size", batch, why, fatal=True)


def _codes(config: Config) -> list[Concern]:
    found, assignment = [], config.assignment
    low = [crop for crop in assignment.crops_for_assign if crop >= config.crops.counts[0]]
    if low:
        why = (
            f"crops {low} are low-resolution; a code from a small part of an image is a poor target, and the paper "
            "measured worse features (section 3.3): use the global crops"
        )
        found.append(Concern("assignment.crops_for_assign", assignment.crops_for_assign, why))
    if assignment.iterations < 3:
        why = (
            "with fewer than 3 the codes are far from equipartition and the paper's loss did not converge "
            "(1 iteration): use 3"
        )
        found.append(Concern("assignment.iterations", assignment.iterations, why))
    return found


def _prototypes(config: Config, images: int) -> list[Concern]:
    found = []
    counts, most = config.model.prototypes, max(config.model.prototypes)
    assigned = config.train.global_batch_size + config.queue.length
    if most > MOST_PROTOTYPES_A_SAMPLE * assigned:
        why = (
            f"codes are divided equally over {most:,} prototypes, and batch and queue bring {assigned:,} samples; "
            f"below one for {MOST_PROTOTYPES_A_SAMPLE} prototypes the loss tends to stay at ln K (the paper: 4,096 "
            "samples for 3,000): use fewer prototypes, a larger train.global_batch_size, or queue.length"
        )
        found.append(Concern("model.prototypes", counts, why))
    if images < LEAST_IMAGES_A_PROTOTYPE * most:
        why = (
            f"{images:,} images for {most:,} prototypes are fewer than {LEAST_IMAGES_A_PROTOTYPE} each, and equal "
            "parts then separate images that are alike: use about ten prototypes a class, or one for 50 images; "
            "recipes.from_dataset_size does"
        )
        found.append(Concern("model.prototypes", counts, why))
    return found


def _queue(config: Config, images: int, steps_per_epoch: int) -> list[Concern]:
    queue, epochs, batch = config.queue, config.train.epochs, config.train.global_batch_size
    if not queue.length:
        return []
    steps = epochs * steps_per_epoch
    if queue.start_epoch >= epochs:
        why = f"must be below train.epochs ({epochs}), or the queue never starts"
        return [Concern("queue.start_epoch", queue.start_epoch, why, fatal=True)]
    found = []
    if queue.start_epoch * steps_per_epoch + -(-queue.length // batch) >= steps:
        why = f"never fills: the run has {steps} steps of {batch} and the queue starts late: shorten it"
        found.append(Concern("queue.length", queue.length, why, fatal=True))
    if queue.length > images / 2:
        why = (
            f"is more than half of the {images:,} images, so that the queue holds older embeddings of the batch's own "
            "images: use at most half"
        )
        found.append(Concern("queue.length", queue.length, why))
    return found


def _schedule(config: Config, steps_per_epoch: int) -> list[Concern]:
    found, optim, epochs = [], config.optim, config.train.epochs
    steps = epochs * steps_per_epoch
    if optim.freeze_prototypes_steps >= steps > 0:
        why = (
            f"must be below the run's {steps} steps, or prototypes never learn: use about two epochs "
            f"({2 * steps_per_epoch} steps), or more train.epochs"
        )
        found.append(Concern("optim.freeze_prototypes_steps", optim.freeze_prototypes_steps, why, fatal=True))
    if optim.warmup_epochs > _LONG_WARM_UP * epochs:
        why = f"the rate rises for most of the run's {epochs} epochs: use a tenth of them ({epochs / 10:g}) or none"
        found.append(Concern("optim.warmup_epochs", optim.warmup_epochs, why))
    return found


def _crops(config: Config, side: int) -> list[Concern]:
    largest = max(config.crops.sizes)
    if not side or largest <= _ENLARGED * side:
        return []
    why = (
        f"the images are about {side} pixels wide or high, and crops of {largest} only enlarge them, at a price of "
        f"{(largest / side) ** 2:.0f} times the pixels: use at most {side}"
        + (", and model.small_image_stem true" if side <= 64 and not config.model.small_image_stem else "")
    )
    return [Concern("crops.sizes", config.crops.sizes, why)]
