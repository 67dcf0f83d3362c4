"""Search spaces: what values make of a recipe, and the mixes that are refused before any trial starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ray import tune

from swav_ray.config import Config, ConfigError, replace
from swav_ray.health.beforehand import concerns
from swav_ray.launch.sweep.space import (
    Values,
    check,
    config_of,
    describe,
    draw,
    effective,
    grid,
    immutable,
    own_values,
    refuse,
)
from swav_ray.recipes import swav_200ep_bs256, swav_rn50w4_400ep, swav_rn50w5_400ep
from swav_ray.settings import UnknownSetting
from tests.quickstarts import quickstart

IMAGES = 6000


def accept(values: Values) -> Config:
    return check(config_of(quickstart(), values), IMAGES)


def test_a_number_stands_for_a_tuple_of_one_and_types_are_checked() -> None:
    config = config_of(quickstart(), {"model.prototypes": 50, "train.temperature": 1})
    assert config.model.prototypes == (50,)
    assert config.train.temperature == 1.0
    with pytest.raises(ConfigError, match=r"queue.length = 0.5: must be a whole number"):
        config_of(quickstart(), {"queue.length": 0.5})
    with pytest.raises(UnknownSetting, match=r"did you mean train.temperature"):
        config_of(quickstart(), {"train.temprature": 0.1})


def test_values_that_are_no_settings_are_translated() -> None:
    def translate(values: Values, base: Config) -> dict[str, object]:
        return {"queue.length": values["batches"] * base.train.global_batch_size}

    assert config_of(quickstart(), {"batches": 3}, translate).queue.length == 768


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"model": {"prototypes": (300,)}}, r"model.prototypes = 300: is more than the 256 samples"),
        ({"queue": {"length": 512, "start_epoch": 24}}, r"queue.start_epoch = 24: must be below train.epochs"),
        ({"queue": {"length": 5888, "start_epoch": 23}}, r"queue.length = 5888: never fills"),
        ({"optim": {"freeze_prototypes_steps": 552}}, r"freeze_prototypes_steps = 552: must be below the run's 552"),
        ({"train": {"global_batch_size": 6001}}, r"global_batch_size = 6001: is more than the 6000"),
    ],
)
def test_a_mix_that_cannot_teach_anything_is_refused_by_name(changed: dict[str, dict[str, object]], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        refuse(replace(quickstart(), **changed), IMAGES)
    assert "\n" not in str(caught.value)


def test_a_queue_lets_a_batch_fill_more_prototypes() -> None:
    refuse(replace(quickstart(), model={"prototypes": (300,)}, queue={"length": 512}), IMAGES)


@pytest.mark.parametrize("recipe", [swav_200ep_bs256, swav_rn50w4_400ep, swav_rn50w5_400ep])
def test_the_papers_recipes_with_a_queue_are_not_refused_even_where_it_is_one_batch(
    recipe: Callable[[], Config],
) -> None:
    refuse(recipe(), 1_281_167)


SPACE = {
    "model.prototypes": tune.choice([30, 100, 300, 3000]),
    "queue.length": tune.choice([0, 128, 512]),
    "train.temperature": tune.loguniform(0.05, 0.3),
}


def test_random_points_all_pass_repeat_by_seed_and_differ_from_each_other() -> None:
    points = draw(SPACE, accept, 40, seed=3)
    assert len(points.values) == 40
    assert draw(SPACE, accept, 40, seed=3).values == points.values
    assert draw(SPACE, accept, 40, seed=4).values != points.values
    for values in points.values:
        accept(values)
        assert 0.05 <= values["train.temperature"] <= 0.3
    assert len({str(values) for values in points.values}) == 40
    assert any("model.prototypes = 3000" in line for line in points.refused)
    assert any("queue.length = 128: must be 0 or at least" in line for line in points.refused)


@pytest.mark.parametrize(
    ("space", "own"),
    [
        ({"train.temperature": tune.loguniform(0.05, 0.3), "optim.freeze_prototypes_steps": tune.randint(0, 101)},
         {"train.temperature": 0.1, "optim.freeze_prototypes_steps": 100}),
        ({"train.temperature": tune.grid_search([0.2, 0.1]), "run.seed": 0}, {"train.temperature": 0.1, "run.seed": 0}),
        ({"model.prototypes": tune.choice([30, 100])}, {"model.prototypes": 100}),
        ({"model.prototypes": tune.choice([[30], [100]])}, {"model.prototypes": [100]}),
        ({"model.prototypes": tune.randint(30, 300)}, {"model.prototypes": 100}),
        ({"crops.max_scales": tune.uniform(0.1, 1.0)}, None),
        ({"run.seed": tune.sample_from(lambda _: 0)}, None),
        # What changes nothing may have any value of the space.
        ({"queue.length": tune.choice([512, 0]), "queue.start_epoch": tune.choice([3, 6])},
         {"queue.length": 0, "queue.start_epoch": 3}),
        ({"queue.length": tune.choice([512]), "queue.start_epoch": tune.choice([0])}, None),
        ({"train.temperature": tune.uniform(0.2, 0.3)}, None),
        ({"optim.freeze_prototypes_steps": tune.randint(0, 100)}, None),
        ({"model.prototypes": tune.choice([300])}, None),
        ({"lr at batch 256": tune.uniform(1, 10)}, None),
    ],
)  # fmt: skip
def test_the_recipes_own_values_are_known_where_the_space_holds_them(
    space: dict[str, object], own: Values | None
) -> None:
    assert own_values(space, quickstart(), accept) == own


@pytest.mark.parametrize("nothing", [tune.choice([]), tune.grid_search([])])
def test_a_setting_without_a_value_is_named(nothing: object) -> None:
    for search in (lambda space: own_values(space, quickstart(), accept), lambda space: draw(space, accept, 2, 0)):
        with pytest.raises(ConfigError, match=r"space train.temperature = \[\]: has nothing to choose from"):
            search({"train.temperature": nothing})


def test_the_recipes_own_values_come_first_and_once() -> None:
    own = {"model.prototypes": 100, "queue.length": 0}
    space = {"model.prototypes": tune.choice([30, 100]), "queue.length": tune.choice([0, 512])}
    points = draw(space, accept, 4, 0, own)
    assert points.values[0] == own
    assert len({str(values) for values in points.values}) == 4


def test_a_grid_is_every_mix_that_passes() -> None:
    space = {"model.prototypes": tune.grid_search([30, 300]), "queue.length": tune.choice([0, 512]), "run.seed": 7}
    points = grid(space, accept)
    assert [tuple(values.values()) for values in points.values] == [(30, 0, 7), (30, 512, 7), (300, 512, 7)]
    assert len(points.refused) == 1
    with pytest.raises(ConfigError, match=r"train.temperature.*continuous"):
        grid(SPACE, accept)


def test_values_that_train_alike_are_one_trial_and_the_repeat_is_told() -> None:
    space = {"queue.length": tune.grid_search([0, 512]), "queue.start_epoch": tune.grid_search([1, 3, 6])}
    points = grid(space, accept)
    assert [tuple(values.values()) for values in points.values] == [(0, 1), (512, 1), (512, 3), (512, 6)]
    assert points.refused == ["queue.start_epoch: changes nothing in a mix that is a trial already (2 x)"]
    assert len(draw(space, accept, 20, seed=0).values) == 4


@pytest.mark.parametrize(
    ("off", "idle"),
    [
        ({"optim": {"warmup_epochs": 0.0}}, {"optim": {"start_warmup_lr": 0.02}}),
        ({"augment": {"jitter_probability": 0.0}}, {"augment": {"jitter_strength": 0.1}}),
        ({"augment": {"blur_probability": 0.0}}, {"augment": {"blur_sigma": (0.5, 0.6)}}),
    ],
)
def test_what_is_switched_off_has_no_effect_whatever_else_is_set(
    off: dict[str, dict[str, object]], idle: dict[str, dict[str, object]]
) -> None:
    without = replace(quickstart(), **off)
    assert effective(replace(without, **idle)) == effective(without)
    augment = {"jitter_probability": 0.5, "blur_probability": 0.5}
    on = replace(quickstart(), augment=augment, optim={"warmup_epochs": 1.0})
    assert effective(replace(on, **idle)) != effective(on)


def test_a_finite_space_gives_no_more_than_it_has() -> None:
    assert len(draw({"queue.length": tune.choice([0, 512])}, accept, 10, seed=0).values) == 2


def test_a_space_without_a_valid_mix_is_told_with_the_reason() -> None:
    with pytest.raises(ConfigError, match=r"no valid mix.*model.prototypes = 3000"):
        draw({"model.prototypes": tune.choice([3000])}, accept, 5, seed=0)


def test_what_a_running_training_cannot_change_is_known() -> None:
    space = {"optim.base_lr": 1, "augment.jitter_strength": 1, "model.prototypes": 1, "train.global_batch_size": 1}
    assert immutable(space) == ["model.prototypes", "train.global_batch_size"]


def test_a_space_is_described_in_words() -> None:
    assert describe(SPACE)["queue.length"] == "categorical [0, 128, 512]"
    assert "0.05" in describe(SPACE)["train.temperature"]


@pytest.mark.parametrize(
    "changes",
    [
        {"train": {"epochs": 4}},
        {"queue": {"length": 512, "start_epoch": 24}},
        {"train": {"global_batch_size": 6_001}},
    ],
)
def test_a_sweep_refuses_what_a_run_is_warned_of_as_fatal_in_the_same_words(changes: dict[str, Any]) -> None:
    config = replace(quickstart(), **changes)
    (fatal,) = (concern for concern in concerns(config, IMAGES) if concern.fatal)
    with pytest.raises(ConfigError) as refused:
        refuse(config, IMAGES)
    assert str(refused.value) == str(fatal.error())
