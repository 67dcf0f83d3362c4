"""What is warned about before a run starts, each with its remedy."""

from __future__ import annotations

from typing import Any

import pytest

from swav_ray.config import Config, replace
from swav_ray.health.beforehand import Concern, concerns
from swav_ray.recipes import RECIPES
from tests.quickstarts import quickstart

IMAGENET = 1_281_167
SHAPES = 6_000  # 23 steps an epoch


def of(config: Config, images: int = IMAGENET, **facts: Any) -> Concern:
    (one,) = concerns(config, images, **facts)
    return one


def _short_freeze(config: Config) -> Config:
    return replace(config, optim={"freeze_prototypes_steps": 9})


def test_codes_from_small_crops_and_few_iterations_are_named() -> None:
    low = of(replace(Config(), assignment={"crops_for_assign": (0, 2)}))
    assert low.name == "assignment.crops_for_assign"
    assert "section 3.3" in low.why
    assert "did not converge" in of(replace(Config(), assignment={"iterations": 1})).why


def test_more_prototypes_than_batch_and_queue_can_fill() -> None:
    small = replace(Config(), train={"global_batch_size": 256})
    assert "over 3,000 prototypes, and batch and queue bring 256 samples" in of(small).why
    assert concerns(replace(small, queue={"length": 3840, "start_epoch": 15}), IMAGENET) == []
    assert concerns(replace(small, model={"prototypes": (300,)}), IMAGENET) == []


def test_more_prototypes_than_the_images_can_fill() -> None:
    assert "9,000 images for 3,000 prototypes are fewer than 5 each" in of(_short_freeze(Config()), 9_000).why


def test_a_queue_of_more_than_half_of_the_images() -> None:
    config = replace(_short_freeze(Config()), queue={"length": 4096}, model={"prototypes": (100,)})
    assert "is more than half of the 8,000 images" in of(config, 8_000).why


def test_a_queue_that_never_starts_or_never_fills() -> None:
    assert "the queue never starts" in of(replace(quickstart(), queue={"length": 512, "start_epoch": 24}), SHAPES).why
    last_epoch = replace(quickstart(), queue={"length": 2560, "start_epoch": 23})
    assert concerns(last_epoch, SHAPES) == []
    late, long = concerns(replace(last_epoch, queue={"length": 5888}), SHAPES)
    assert (late.name, late.fatal) == ("queue.length", True)
    assert "never fills" in late.why
    assert not long.fatal


def test_prototypes_that_stay_frozen_for_the_whole_run() -> None:
    concern = of(replace(quickstart(), train={"epochs": 4}), SHAPES)
    assert (concern.name, concern.value, concern.fatal) == ("optim.freeze_prototypes_steps", 100, True)
    assert "below the run's 92 steps, or prototypes never learn" in concern.why


def test_a_warm_up_of_most_of_the_run() -> None:
    assert of(replace(quickstart(), optim={"warmup_epochs": 13.0}), SHAPES).name == "optim.warmup_epochs"
    assert concerns(replace(quickstart(), optim={"warmup_epochs": 12.0}), SHAPES) == []


def test_crops_that_only_enlarge_the_images() -> None:
    assert "crops of 224 only enlarge them, at a price of 64 times the pixels" in of(Config(), side=28).why
    assert "small_image_stem" in of(Config(), side=28).why
    assert concerns(Config(), IMAGENET, side=150) == []


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("swav")])
def test_the_papers_recipes_raise_no_concern(name: str) -> None:
    assert concerns(RECIPES[name](), IMAGENET, side=375) == []
