"""The settings of runs: against the recipe that is most like them, and against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swav_ray import recipes, settings
from swav_ray.config import Config

_OWN = ("run.name", "run.storage")  # of each run, whatever its recipe
Row = tuple[str, str, str, bool]


def flat(config: Config) -> dict[str, Any]:
    """Every setting by its dotted name."""
    return {
        f"{section}.{name}": value
        for section, fields in settings.to_dict(config).items()
        for name, value in fields.items()
    }


def nearest_recipe(config: Config) -> str:
    """The recipe that differs from a config in the fewest settings. A run does not note which it was started with."""
    own = flat(config)

    def apart(name: str) -> tuple[bool, int]:
        other = flat(recipes.RECIPES[name]())
        return name != config.run.name, sum(own[key] != other[key] for key in own if key not in _OWN)

    return min(recipes.RECIPES, key=lambda name: apart(name)[::-1])


def against_recipe(config: Config) -> tuple[str, list[Row]]:
    """The nearest recipe, and each setting: its name, its value, the recipe's, and whether they differ."""
    name = nearest_recipe(config)
    own, theirs = flat(config), flat(recipes.RECIPES[name]())
    return name, [
        (key, shown(own[key]), shown(theirs[key]), key not in _OWN and own[key] != theirs[key]) for key in own
    ]


def among(configs: Sequence[Config]) -> list[tuple[str, list[str]]]:
    """The settings that are not the same in all configs, with each config's value."""
    all_of = [flat(config) for config in configs]
    return [
        (key, [shown(each[key]) for each in all_of])
        for key in all_of[0]
        if key not in _OWN and any(each[key] != all_of[0][key] for each in all_of)
    ]


def shown(value: Any) -> str:
    """A value as a command line takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return " ".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value) if value != "" else "(none)"
