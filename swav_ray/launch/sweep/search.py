"""Where a sweep's values come from: a list drawn beforehand, or Optuna, which learns from the trials before."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import optuna
from ray.tune.search import BasicVariantGenerator, Searcher
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.sample import Categorical, Domain

from swav_ray.config import ConfigError
from swav_ray.launch.sweep.space import Accept, Points, Space, Values, grid_values

SEARCHERS = ("random", "grid", "optuna")
_SUGGESTIONS = 100  # refused ones in a row after which Optuna is asked no more


def fixed_points(points: Points) -> tuple[BasicVariantGenerator, dict[str, Any]]:
    """A generator that hands out these points in order, and the `param_space` to give Tune with it."""
    generator = BasicVariantGenerator(points_to_evaluate=[dict(values) for values in points.values])
    return generator, {name: Categorical([value]) for name, value in points.values[0].items()}


class Tpe(Searcher):
    """Optuna's tree-structured Parzen estimator. It suggests only values that pass.

    Values that are refused count as a failed trial, and Optuna is asked again.

    Args:
        accept: raises ConfigError for values that are refused.
        metrics: figures that a trial reports, the objectives.
        modes: "max" or "min" of each.
        seed: of the values drawn.
        start: values of the first trials.
    """

    def __init__(
        self, space: Space, accept: Accept, *, metrics: list[str], modes: list[str], seed: int, start: list[Values]
    ) -> None:
        super().__init__(metric=metrics, mode=modes)  # type: ignore[arg-type]
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # else a line for every study
        self._accept, self._metrics = accept, metrics
        self._distributions = OptunaSearch.convert_search_space(
            {name: _as_domain(domain) for name, domain in space.items()}
        )
        self._study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed),
            directions=["maximize" if mode == "max" else "minimize" for mode in modes],
        )
        self._numbers: dict[str, int] = {}  # Optuna's number of each of Tune's trials
        for values in start:
            self._study.enqueue_trial(values)

    def suggest(self, trial_id: str) -> Values | None:
        """Values of the next trial; None if no suggestion passes."""
        for _ in range(_SUGGESTIONS):
            trial = self._study.ask(fixed_distributions=self._distributions)
            try:
                self._accept(trial.params)
            except ConfigError:
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
                continue
            self._numbers[trial_id] = trial.number
            return trial.params
        return None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tells Optuna a trial's last figures. A failed or collapsed trial has none, whatever it reported before."""
        figures = [(result or {}).get(metric, math.nan) for metric in self._metrics]
        if error or any(math.isnan(figure) for figure in figures):
            self._study.tell(self._numbers[trial_id], state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
        else:
            self._study.tell(self._numbers[trial_id], figures, skip_if_finished=True)

    def save(self, checkpoint_path: str) -> None:
        """Writes the study, with which a resumed sweep continues as if it had not been interrupted."""
        Path(checkpoint_path).write_bytes(pickle.dumps({"study": self._study, "numbers": self._numbers}))

    def restore(self, checkpoint_path: str) -> None:
        """Reads what `save` wrote, or what Ray's OptunaSearch wrote for a sweep begun with version 0.1."""
        state = pickle.loads(Path(checkpoint_path).read_bytes())
        if "_ot_study" in state:
            numbers = {name: trial.number for name, trial in state["_ot_trials"].items()}
            state = {"study": state["_ot_study"], "numbers": numbers}
        self._study, self._numbers = state["study"], state["numbers"]


def _as_domain(domain: Any) -> Domain:
    """What is no domain of Tune's, a list or a constant, as a choice."""
    if isinstance(domain, Domain):
        return domain
    values = grid_values(domain)
    return Categorical([domain] if values is None else values)
