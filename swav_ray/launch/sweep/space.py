"""A search space: values drawn from it, the configs that they make, and the mixes that are refused before any trial.

A space maps settings (`train.temperature`) to Ray Tune's domains. If a trial's values are not settings themselves, a
function turns them into settings.
"""

from __future__ import annotations

import itertools
import typing
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ray.tune.search.sample import Categorical, Domain, Float, Integer

from swav_ray import settings
from swav_ray.config import AugmentConfig, Config, ConfigError, replace
from swav_ray.health.beforehand import concerns

Space = Mapping[str, Any]
Values = dict[str, Any]
Translate = Callable[[Values, Config], dict[str, Any]]  # values and the recipe to settings
Accept = Callable[[Values], Config]  # what a mix trains; raises ConfigError for one that is refused

# What population-based training may mutate: settings that a running training can change, since neither the shapes of
# its weights, optimizer and queue nor the meaning of its steps depend on them.
MUTABLE = (
    "optim.base_lr",
    "optim.final_lr",
    "optim.weight_decay",
    "optim.momentum",
    "optim.trust_coefficient",
    "train.temperature",
    "assignment.epsilon",
    "assignment.iterations",
    "assignment.hard",
    "augment.",
    "crops.min_scales",
    "crops.max_scales",
)
_DRAWS = 200  # for each point that is wanted


def config_of(base: Config, values: Values, translate: Translate | None = None) -> Config:
    """The recipe with a trial's values; a single number stands for a tuple of one.

    Raises:
        ConfigError, UnknownSetting: a value or its name is wrong.
    """
    types = settings.field_types()
    changed = {}
    for dotted, value in (translate(dict(values), base) if translate else values).items():
        plain = _plain(value)
        if typing.get_origin(types.get(dotted)) is tuple and not isinstance(plain, list | tuple):
            plain = (plain,)
        changed[dotted] = settings.checked(dotted, plain)
    return settings.with_values(base, changed)


def refuse(config: Config, images: int, recipe: Config | None = None) -> None:
    """Raises ConfigError for a mix that can be trained but teaches nothing.

    A queue that is as long as a batch passes: the published RN50-w4 and w5 runs have one.

    Args:
        images: number of training images.
        recipe: what the mix starts from. It may have more prototypes than samples to fill them (the Imagenette recipe
            has 300 for 256), and so may a mix that leaves its prototypes, batch and queue as they are.
    """
    for concern in concerns(config, images):
        if concern.fatal:
            raise concern.error()
    room = config.train.global_batch_size + config.queue.length
    own = recipe is not None and _room(recipe) == _room(config)
    for prototypes in config.model.prototypes:
        if prototypes > room and not own:
            raise ConfigError(
                "model.prototypes",
                prototypes,
                f"is more than the {room} samples of a batch and the queue, which cannot fill them",
            )


def _room(config: Config) -> tuple[tuple[int, ...], int, int]:
    return config.model.prototypes, config.train.global_batch_size, config.queue.length


def check(config: Config, images: int, recipe: Config | None = None) -> Config:
    """`config`; raises ConfigError if `refuse` does."""
    refuse(config, images, recipe)
    return config


def effective(config: Config) -> Config:
    """`config` with each setting that has no effect in it at a fixed value: configs that train alike are equal."""
    off: dict[str, dict[str, Any]] = {"queue": {}, "optim": {}, "augment": {}}
    if not config.queue.length:
        off["queue"]["start_epoch"] = 0
    if not config.optim.warmup_epochs:
        off["optim"]["start_warmup_lr"] = 0.0
    if not config.augment.jitter_probability:
        off["augment"]["jitter_strength"] = 0.0
    if not config.augment.blur_probability:
        off["augment"]["blur_sigma"] = AugmentConfig().blur_sigma
    return replace(config, **off)


class Points:
    """Values of trials. They all pass, and no two train alike.

    Attributes:
        refused: why others were refused: a line for each reason, with how often it occurred.
    """

    def __init__(self) -> None:
        self._trials: dict[Config, Values] = {}  # by what they train
        self._reasons: Counter[str] = Counter()

    @property
    def values(self) -> list[Values]:
        """One dict for each trial."""
        return list(self._trials.values())

    def offer(self, values: Values, accept: Accept) -> None:
        """Adds `values`, unless `accept` raises ConfigError or another trial trains alike."""
        if values in self._trials.values():
            return
        try:
            trains = effective(accept(values))
        except ConfigError as error:
            self._reasons[str(error)] += 1
            return
        there = self._trials.setdefault(trains, values)
        if idle := [name for name in values if values[name] != there[name]]:
            self._reasons[f"{', '.join(idle)}: changes nothing in a mix that is a trial already"] += 1

    def __len__(self) -> int:
        return len(self._trials)

    @property
    def refused(self) -> list[str]:
        return [f"{reason} ({count} x)" for reason, count in self._reasons.most_common()]


def own_values(space: Space, base: Config, accept: Accept) -> Values | None:
    """The values that train as the recipe does by itself; None if the space does not hold them.

    A setting that has no effect in the recipe (the start of a queue of length 0) may have any value.
    """
    known = settings.field_types()
    values = {}
    for name, domain in space.items():
        if name not in known:
            return None
        section, field = name.split(".")
        own = getattr(getattr(base, section), field)
        alone = own[0] if isinstance(own, tuple) and len(own) == 1 else own
        if isinstance(domain, Float | Integer):
            is_in = isinstance(alone, int | float) and domain.lower <= alone <= largest(domain)
            values[name] = alone if is_in else domain.lower
        elif isinstance(domain, Domain) and not isinstance(domain, Categorical):
            return None
        else:
            choices = _choices(name, domain)
            values[name] = next((choice for choice in choices if _as_tuple(choice) in (own, alone)), choices[0])
    try:
        return values if effective(accept(values)) == effective(base) else None
    except ConfigError:
        return None


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | np.ndarray) else value


def draw(space: Space, accept: Accept, count: int, seed: int, first: Values | None = None) -> Points:
    """`count` different points, `first` and random ones; fewer if a finite space has no more.

    Raises:
        ConfigError: none passes.
    """
    for name, domain in space.items():
        if isinstance(domain, Categorical | dict):
            _choices(name, domain)
    points, generator = Points(), np.random.RandomState(seed)
    if first is not None:
        points.offer(first, accept)
    for _ in range(count * _DRAWS):
        if len(points) == count:
            break
        points.offer({name: draw_one(domain, generator) for name, domain in space.items()}, accept)
    return _some(points, space)


def grid(space: Space, accept: Accept) -> Points:
    """Every mix of a space of finite lists; raises ConfigError if a domain is continuous or no mix passes."""
    points = Points()
    for mix in itertools.product(*(_choices(name, domain) for name, domain in space.items())):
        points.offer(dict(zip(space, mix, strict=True)), accept)
    return _some(points, space)


def _some(points: Points, space: Space) -> Points:
    if not points.values:
        raise ConfigError("space", sorted(space), f"has no valid mix; the most frequent reason: {points.refused[0]}")
    return points


def largest(domain: Float | Integer) -> Any:
    """The largest value of a range; Tune's ranges of integers end before their upper bound."""
    return domain.upper - 1 if isinstance(domain, Integer) else domain.upper


def draw_one(domain: Any, generator: np.random.RandomState) -> Any:
    """One value of a domain, of a `tune.grid_search`, or the constant that `domain` is."""
    if isinstance(domain, Domain):
        return _plain(domain.sample(random_state=generator))
    choices = grid_values(domain)
    return domain if choices is None else choices[generator.randint(len(choices))]


def _choices(name: str, domain: Any) -> list[Any]:
    if isinstance(domain, Domain) and not isinstance(domain, Categorical):
        raise ConfigError(f"space {name}", domain.domain_str, "is continuous; a grid needs tune.grid_search([...])")
    listed = domain.categories if isinstance(domain, Categorical) else grid_values(domain)
    choices = [domain] if listed is None else [_plain(value) for value in listed]
    if not choices:
        raise ConfigError(f"space {name}", choices, "has nothing to choose from; name one value or more")
    return choices


def grid_values(domain: Any) -> list[Any] | None:
    """The values of a `tune.grid_search`; None for a constant."""
    return list(domain["grid_search"]) if isinstance(domain, dict) and set(domain) == {"grid_search"} else None


def _plain(value: Any) -> Any:
    """A number of numpy's as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def describe(space: Space) -> dict[str, str]:
    """The space in words, for the terminal and for sweep.yaml, which a resumed sweep is compared with."""
    return {
        name: f"{type(domain).__name__.lower()} {domain.domain_str}" if isinstance(domain, Domain) else str(domain)
        for name, domain in space.items()
    }


def immutable(space: Space) -> list[str]:
    """Settings of a space that population-based training cannot change in a running training."""
    return [name for name in space if not name.startswith(MUTABLE)]
