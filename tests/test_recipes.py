"""The recipes against the paper's table."""

from __future__ import annotations

import pytest

from swav_ray import recipes
from swav_ray.config import Config, ConfigError, replace
from swav_ray.health.beforehand import concerns

BIG = {"lr": (4.8, 0.0048, 0.3, 10.0), "freeze": 313}
SMALL = {"lr": (0.6, 0.0006, 0.0, 0.0), "freeze": 5005}
MULTI = ((224, 96), (2, 6), (0.14, 0.05), (1.0, 0.14))
PAPER = {
    "swav_100ep": (100, 4096, MULTI, (0, 0), 1.0, 2048, BIG),
    "swav_200ep": (200, 4096, MULTI, (0, 0), 1.0, 2048, BIG),
    "swav_400ep": (400, 4096, MULTI, (0, 0), 1.0, 2048, BIG),
    "swav_800ep": (800, 4096, MULTI, (0, 0), 1.0, 2048, BIG),
    "swav_400ep_2x224": (400, 4096, ((224,), (2,), (0.08,), (1.0,)), (0, 0), 1.0, 2048, BIG),
    "swav_200ep_bs256": (200, 256, MULTI, (3840, 15), 1.0, 2048, SMALL),
    "swav_400ep_bs256": (400, 256, MULTI, (3840, 15), 1.0, 2048, SMALL),
    "swav_rn50w2_400ep": (400, 4096, ((224, 96), (2, 4), (0.14, 0.05), (1.0, 0.14)), (0, 0), 2.0, 8192, BIG),
    "swav_rn50w4_400ep": (400, 2560, ((224, 96), (2, 4), (0.08, 0.08), (1.0, 0.14)), (2560, 0), 4.0, 8192, BIG),
    "swav_rn50w5_400ep": (400, 1536, ((224, 96), (2, 4), (0.08, 0.08), (1.0, 0.14)), (1536, 0), 5.0, 8192, BIG),
}


@pytest.mark.parametrize("name", PAPER)
def test_is_the_papers(name: str) -> None:
    config = recipes.RECIPES[name]()
    epochs, batch, crops, queue, width, hidden, optim = PAPER[name]
    assert (config.train.epochs, config.train.global_batch_size) == (epochs, batch)
    assert (config.crops.sizes, config.crops.counts, config.crops.min_scales, config.crops.max_scales) == crops
    assert (config.queue.length, config.queue.start_epoch) == queue
    assert (config.model.backbone, config.model.width, config.model.hidden_dim) == ("resnet50", width, hidden)
    rates = config.optim
    assert (rates.base_lr, rates.final_lr, rates.start_warmup_lr, rates.warmup_epochs) == optim["lr"]
    assert rates.freeze_prototypes_steps == optim["freeze"]
    assert (rates.weight_decay, rates.momentum, rates.trust_coefficient) == (1e-6, 0.9, 0.001)
    assert (config.train.temperature, config.assignment.epsilon, config.assignment.iterations) == (0.1, 0.05, 3)
    assert (config.model.output_dim, config.model.prototypes) == (128, (3000,))
    assert config.assignment.crops_for_assign == (0, 1)
    jitter = config.augment
    assert (jitter.jitter_strength, jitter.jitter_probability, jitter.greyscale_probability) == (1.0, 0.8, 0.2)
    assert (jitter.blur_probability, jitter.blur_sigma) == (0.5, (0.1, 2.0))


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_is_named_as_it_is_called(name: str) -> None:
    assert recipes.RECIPES[name]().run.name == name


@pytest.mark.parametrize("images", [64, 500, 3000, 10_000, 50_000, 199_999])
@pytest.mark.parametrize("name", ["swav_100ep", "swav_400ep_bs256", "cifar"])
def test_small_data_sets_get_prototypes_that_batch_and_queue_can_fill(name: str, images: int) -> None:
    base = recipes.RECIPES[name]()
    config = recipes.from_dataset_size(base, images)
    assert isinstance(config, Config)
    assert config.train.global_batch_size <= images // 4
    assert config.model.prototypes[0] <= 4 * config.train.global_batch_size
    assert config.queue.length <= images // 2
    assert config.assignment.epsilon <= 0.03
    assert config.optim.freeze_prototypes_steps >= 300


@pytest.mark.parametrize("classes", [0, 2, 10, 1000])
@pytest.mark.parametrize("name", recipes.RECIPES)
def test_no_recipe_draws_a_warning_and_none_that_is_adapted_to_a_data_set_does(name: str, classes: int) -> None:
    base = recipes.RECIPES[name]()
    assert concerns(base, 1_281_167) == []
    for images in (64, 100, 333, 1000, 5000, 20_000, 199_999):
        config = recipes.from_dataset_size(base, images, classes=classes)
        assert concerns(config, images) == [], images


def test_small_data_sets_get_ten_prototypes_a_class() -> None:
    assert recipes.from_dataset_size(recipes.swav_100ep(), 5000, classes=10).model.prototypes == (100,)


def test_large_data_sets_keep_the_recipe_and_tiny_ones_are_refused() -> None:
    assert recipes.from_dataset_size(recipes.swav_100ep(), 1_281_167) == recipes.swav_100ep()
    with pytest.raises(ConfigError, match="too few"):
        recipes.from_dataset_size(recipes.swav_100ep(), 20)


@pytest.mark.parametrize("images", [5000, 1_281_167])
def test_transparent_images_are_laid_over_white_and_every_recipe_drops_alpha_as_published(images: int) -> None:
    assert {recipe().data.alpha for recipe in recipes.RECIPES.values()} == {"drop"}
    assert recipes.from_dataset_size(recipes.swav_100ep(), images, transparent=True).data.alpha == "white"
    chosen = replace(recipes.swav_100ep(), data={"alpha": "random"})
    assert recipes.from_dataset_size(chosen, images, transparent=True).data.alpha == "random"
