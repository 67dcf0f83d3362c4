"""Ray Tune's schedulers as a sweep uses them: they survive a restart, and mutate values only to values that pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search.sample import Categorical, Float, Integer

from swav_ray.config import Config, ConfigError
from swav_ray.launch.sweep.space import Accept, Space, Values, draw_one, grid_values, immutable, largest
from swav_ray.launch.sweep.trial import report_of
from swav_ray.run import measurements
from swav_ray.storage.place import place

SCHEDULERS = ("asha", "median", "pbt", "none")
TIME = "epochs"
# The rates of Ray's population-based training.
_RESAMPLED = 0.25
_FACTORS = (0.8, 1.2)
_MUTATIONS = 20  # refused ones in a row after which the other trial's values are taken unchanged


def make_scheduler(name: str, space: Space, accept: Accept, *, epochs: int, grace: int) -> TrialScheduler:
    """A scheduler by name.

    Args:
        epochs: of a whole trial.
        grace: epochs before which no trial is stopped, and between two mutations.

    Raises:
        ConfigError: no such scheduler, or the space does not suit it.
    """
    if name == "none":
        return FIFOScheduler()
    if name == "asha":
        return Asha(time_attr=TIME, max_t=epochs, grace_period=min(grace, epochs), reduction_factor=3)
    if name == "median":
        return Median(time_attr=TIME, grace_period=grace, min_samples_required=3)
    if name != "pbt":
        raise ConfigError("scheduler", name, f"must be one of {', '.join(SCHEDULERS)}")
    if fixed := immutable(space):
        raise ConfigError(
            "scheduler",
            name,
            f"changes settings of a running training, and {', '.join(fixed)} cannot change in one: "
            "leave them out of the space, or use asha",
        )
    # Without `hyperparam_mutations` Tune hands `custom_explore_fn` the values of the trial that is copied, unmutated.
    return PopulationBasedTraining(
        time_attr=TIME, perturbation_interval=grace, custom_explore_fn=explorer(space, accept), quantile_fraction=0.25
    )


class _Remembering:
    """A scheduler that learns, when a sweep is resumed, what its trials had reported, and judges no report twice.

    Tune's snapshot holds trials and searchers, but no scheduler's state. A trial that is not finished reports its
    measurements again. They were judged when they came, and are not judged anew by what other trials reached since.
    """

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._judged: dict[str, float] = {}  # by trial, the time until which its reports are judged

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, trial)  # type: ignore[misc]
        last = trial.last_result or {}
        if not last.get("run_dir"):
            return
        reports = [report_of(row, Config()) for row in measurements.read(place(last["run_dir"]))]
        reports = [report for report in reports if report[TIME] <= last.get(TIME, math.inf)]
        for report in reports:
            self._remember(trial, report)
            self._judged[trial.trial_id] = report[TIME]

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if result[TIME] <= self._judged.get(trial.trial_id, -1.0):
            return TrialScheduler.CONTINUE
        decision: str = super().on_trial_result(tune_controller, trial, result)  # type: ignore[misc]
        return decision

    def _remember(self, trial: Any, report: dict[str, Any]) -> None:
        super().on_trial_result(None, trial, report)  # type: ignore[misc]


class Asha(_Remembering, AsyncHyperBandScheduler):
    """Asynchronous successive halving."""


class Median(_Remembering, MedianStoppingRule):
    """Stops a trial whose best report is below the median of the other trials' means."""

    def _remember(self, trial: Any, report: dict[str, Any]) -> None:
        self.on_trial_complete(None, trial, report)  # type: ignore[arg-type]  # notes a report without judging it


def explorer(space: Space, accept: Accept) -> Callable[[Values], Values]:
    """What population-based training does with the values of the trial that it copies.

    The function returned mutates them, inside the space. If no mutation passes, it returns them unchanged.
    """

    def explore(values: Values) -> Values:
        # Unseeded, as Tune's choice of the trial to copy is.
        generator = np.random.RandomState()
        for _ in range(_MUTATIONS):
            changed = mutate(values, space, generator)
            try:
                accept(changed)
            except ConfigError:
                continue
            return changed
        return values

    return explore


def mutate(values: Values, space: Space, generator: np.random.RandomState) -> Values:
    """A mutation as Ray's population-based training makes it, that stays inside the space.

    A quarter of the values is drawn anew. Of the others, one of a list moves one place up or down, and one of a range
    is multiplied by 0.8 or 1.2.
    """
    return {name: _mutate_one(values[name], domain, generator) for name, domain in space.items()}


def _mutate_one(value: Any, domain: Any, generator: np.random.RandomState) -> Any:
    options = list(domain.categories) if isinstance(domain, Categorical) else grid_values(domain)
    if options is not None and value in options and generator.random_sample() >= _RESAMPLED:
        moved = options.index(value) + generator.choice([-1, 1])
        return options[min(max(moved, 0), len(options) - 1)]
    if isinstance(domain, Float | Integer) and generator.random_sample() >= _RESAMPLED:
        scaled = value * generator.choice(_FACTORS)
        inside = min(max(scaled, domain.lower), largest(domain))
        return round(inside) if isinstance(domain, Integer) else float(inside)
    return draw_one(domain, generator)
