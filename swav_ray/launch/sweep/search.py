"""Ray Tune's searchers and schedulers as a sweep uses them: fed with points that pass, and whole after a restart."""

from __future__ import annotations

import math
from typing import Any

from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search import BasicVariantGenerator, Searcher
from ray.tune.search.sample import Categorical, Domain, Float, Integer

from swav_ray.config import Config, ConfigError
from swav_ray.launch.sweep.space import Accept, Points, Space, Values, immutable
from swav_ray.launch.sweep.trial import report_of
from swav_ray.run import measurements
from swav_ray.storage.place import place

SEARCHERS = ("random", "grid", "optuna")
SCHEDULERS = ("asha", "median", "pbt", "none")
TIME = "epochs"
_SUGGESTIONS = 100  # of Optuna in a row that may be refused
_MUTATIONS = 20  # in a row that may be refused


class _Remembering:
    """A scheduler that, when a sweep goes on, knows what trials had reported, and decides nothing twice.

    Tune keeps trials and searchers in its snapshot, but no scheduler's state. Trials that are not finished tell their
    measurements again themselves; they were let pass once and are not judged anew by what others reached since.
    """

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._known: dict[str, float] = {}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, trial)  # type: ignore[misc]
        last = trial.last_result or {}
        if not last.get("run_dir"):
            return
        told = [report_of(row, Config()) for row in measurements.read(place(last["run_dir"]))]
        rows = [row for row in told if row[TIME] <= last.get(TIME, math.inf)]
        if rows:
            self._known[trial.trial_id] = rows[-1][TIME]
            self._remember(trial, rows)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if result[TIME] <= self._known.get(trial.trial_id, -1.0):
            return TrialScheduler.CONTINUE
        decision: str = super().on_trial_result(tune_controller, trial, result)  # type: ignore[misc]
        return decision

    def _remember(self, trial: Any, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            super().on_trial_result(None, trial, row)  # type: ignore[misc]


class Asha(_Remembering, AsyncHyperBandScheduler):
    """Asynchronous successive halving."""


class Median(_Remembering, MedianStoppingRule):
    """Stops a trial whose best is below the median of the others' means."""

    def _remember(self, trial: Any, rows: list[dict[str, Any]]) -> None:
        self._results[trial].extend(rows)


class Pbt(PopulationBasedTraining):
    """Population-based training whose mutations stay inside the space and pass; else values are copied as they are."""

    def __init__(self, accept: Accept, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._accept = accept

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[Values, dict[str, str]]:
        for _ in range(_MUTATIONS):
            values, operations = super()._get_new_config(trial, trial_to_clone)
            for name, domain in self._hyperparam_mutations.items():
                if isinstance(domain, Float | Integer):
                    top = domain.upper - 1 if isinstance(domain, Integer) else domain.upper
                    values[name] = type(values[name])(min(max(values[name], domain.lower), top))
            try:
                self._accept(values)
            except ConfigError:
                continue
            return values, operations
        return dict(trial_to_clone.config), {}


def make_scheduler(name: str, space: Space, accept: Accept, *, epochs: int, grace: int) -> TrialScheduler:
    """A scheduler by name; raises ConfigError where the space does not suit it.

    Args:
        epochs: of a whole trial. grace: epochs before which none is stopped, and between two mutations.
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
    return Pbt(
        accept,
        time_attr=TIME,
        perturbation_interval=grace,
        hyperparam_mutations={name: _mutation(domain) for name, domain in space.items()},
        quantile_fraction=0.25,
    )


def _mutation(domain: Any) -> Any:
    """What PBT moves along: a list one step up or down, a range by a factor."""
    if isinstance(domain, Categorical):
        return list(domain.categories)
    if isinstance(domain, dict) and "grid_search" in domain:
        return list(domain["grid_search"])
    return domain if isinstance(domain, Domain) else [domain]


def fixed_points(points: Points) -> tuple[BasicVariantGenerator, dict[str, Any]]:
    """A generator that hands out these points in order, and the parameter space to give with it."""
    generator = BasicVariantGenerator(points_to_evaluate=[dict(values) for values in points.values])
    return generator, {name: Categorical([value]) for name, value in points.values[0].items()}


class ValidOptuna(Searcher):
    """Optuna's TPE, asked again where it suggests a mix that is refused; a refused one counts as failed with it."""

    def __init__(
        self,
        space: Space,
        accept: Accept,
        *,
        metric: str | list[str],
        mode: str | list[str],
        seed: int,
        start: list[Values],
    ) -> None:
        from ray.tune.search.optuna import OptunaSearch

        super().__init__(metric=metric, mode=mode)  # type: ignore[arg-type]
        domains = {name: _for_optuna(domain) for name, domain in space.items()}
        converted = OptunaSearch.convert_search_space(domains)
        self._inner = OptunaSearch(converted, metric=metric, mode=mode, seed=seed, points_to_evaluate=start)
        self._accept = accept
        self._refused = 0

    def suggest(self, trial_id: str) -> Values | None:
        for _ in range(_SUGGESTIONS):
            values: Values = self._inner.suggest(trial_id) or {}
            try:
                self._accept(values)
                return values
            except ConfigError:
                self._refused += 1
                ticket = f"refused-{self._refused}"
                self._inner._ot_trials[ticket] = self._inner._ot_trials.pop(trial_id)
                self._inner.on_trial_complete(ticket, error=True)
        return None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._inner.on_trial_result(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        # A failed or collapsed trial has no score, whatever it reported before.
        self._inner.on_trial_complete(trial_id, None if error else result, error)

    def save(self, checkpoint_path: str) -> None:
        self._inner.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        self._inner.restore(checkpoint_path)


def _for_optuna(domain: Any) -> Any:
    if isinstance(domain, Domain):
        return domain
    if isinstance(domain, dict) and "grid_search" in domain:
        return Categorical(list(domain["grid_search"]))
    return Categorical([domain])
