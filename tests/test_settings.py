"""Settings as text: there and back, and what is said to a wrong argument."""

from __future__ import annotations

import pytest

from swav_ray import settings
from swav_ray.config import ConfigError
from swav_ray.recipes import RECIPES, quickstart, swav_100ep


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_comes_back_from_yaml(name: str) -> None:
    config = RECIPES[name]()
    assert settings.from_yaml(settings.to_yaml(config), swav_100ep(), "x") == config


def test_every_field_can_be_set_by_an_argument() -> None:
    config = quickstart()
    for dotted in settings.field_types():
        section, _, name = dotted.partition(".")
        value = getattr(getattr(config, section), name)
        values = value if isinstance(value, tuple) else (value,)
        arguments = [f"--{dotted}", *(str(v).lower() if isinstance(v, bool) else str(v) for v in values)]
        assert settings.parse_arguments(arguments) == {dotted: value}


def test_every_field_shows_in_help_with_default_and_unit() -> None:
    text = settings.help_text(swav_100ep())
    for dotted in settings.field_types():
        assert f"--{dotted}  [" in text
    assert "--crops.sizes  [224 96 pixels]" in text
    assert "--run.trackers  [none]" in text


def test_words_may_be_none() -> None:
    assert settings.parse_arguments(["--run.trackers", "--run.seed", "1"]) == {"run.trackers": (), "run.seed": 1}
    assert settings.from_yaml("run: {trackers: []}", quickstart(), "x").run.trackers == ()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--train.epoch", "3"], "train.epoch: no such setting; did you mean train.epochs?"),
        (["--lr", "1"], "lr: no such setting; did you mean optim.base_lr?"),
        (["--zzz", "1"], "zzz: no such setting; see --help"),
        (["--train.epochs", "three"], "train.epochs = 'three': must be a whole number"),
        (["--train.epochs", "1.5"], "train.epochs = '1.5': must be a whole number"),
        (["--train.epochs"], "train.epochs = '': needs one value"),
        (["--train.epochs", "1", "2"], "train.epochs = '1 2': needs one value"),
        (["--model.small_image_stem", "yes"], "must be true or false"),
        (["--augment.blur_sigma", "1"], "needs 2 numbers"),
        (["5"], "'5': is not expected here"),
    ],
)
def test_a_wrong_argument_gets_one_line(arguments: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        settings.with_values(quickstart(), settings.parse_arguments(arguments))
    assert said in str(caught.value)


def test_equals_sign_and_underscores() -> None:
    assert settings.parse_arguments(["--train.epochs=7", "--data.limit", "10_000"]) == {
        "train.epochs": 7,
        "data.limit": 10_000,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: {epochs: many}", "train.epochs = 'many': must be a whole number"),
        ("train: {epoch: 3}", "did you mean train.epochs?"),
        ("train: {epochs: true}", "must be a whole number"),
        ("crops: {sizes: 3}", "needs one or more"),
        ("- 1", "must map sections"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_wrong_file_gets_one_line(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        settings.from_yaml(text, quickstart(), "f.yaml")
    assert said in str(caught.value)


def test_yaml_takes_exponents_without_a_point() -> None:
    config = settings.from_yaml("optim: {weight_decay: 1e-5, base_lr: 2}", quickstart(), "x")
    assert config.optim.weight_decay == 1e-5
    assert isinstance(config.optim.base_lr, float)


def test_an_unknown_error_is_a_value_error() -> None:
    assert issubclass(settings.UnknownSetting, ValueError)
    assert issubclass(ConfigError, ValueError)
