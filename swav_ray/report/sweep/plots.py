"""The pictures of a sweep: parallel coordinates, importance, objective against cost, learning curves. PNG bytes."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from swav_ray.report.figures import new_axes, png
from swav_ray.report.sweep.record import FIGURES, SweepRecord, TrialRecord, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST = 8  # trials for a picture of importance; fewer say nothing
_COLORS = {
    "finished": "#1b7f3b",
    "stopped": "#888888",
    "running": "#2b6cb0",
    "collapsed": "#c0392b",
    "failed": "#c0392b",
}
_MARKS = {"finished": "o", "stopped": "s", "running": ">", "collapsed": "x", "failed": "X"}


def pictures(sweep: SweepRecord) -> dict[str, tuple[bytes, str]]:
    """PNG bytes and a caption by name; a picture without data is left out."""
    drawn: dict[str, tuple[bytes, str]] = {}
    if any(trial.rows for trial in sweep.trials):
        drawn["sweep_curves"] = _curves(sweep)
        drawn["sweep_cost"] = _cost(sweep)
    if any(trial.counts and trial.at_end(sweep.objective) is not None for trial in sweep.trials):
        drawn["sweep_parallel"] = _parallel(sweep)
    if (found := importances(sweep)) is not None:
        drawn["sweep_importance"] = _importance(sweep, *found)
    return drawn


def _legend(axes: Axes, states: set[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=_COLORS[state], marker=_MARKS[state], linestyle="none", label=state)
        for state in _COLORS
        if state in states
    ]
    axes.legend(handles=handles, frameon=False, fontsize=9)


def _curves(sweep: SweepRecord) -> tuple[bytes, str]:
    from matplotlib.ticker import MaxNLocator

    column, label = FIGURES[sweep.objective]
    figure, axes = new_axes(9, 4.6)
    for trial in sweep.trials:
        rows = [row for row in trial.rows if row.get(column) is not None]
        if not rows:
            continue
        color = _COLORS[trial.state]
        for generation in sorted({row["generation"] for row in rows}):
            part = [row for row in rows if row["generation"] == generation]
            wide = 2.4 if trial == sweep.best else 1.1
            axes.plot([row["epochs"] for row in part], [row[column] for row in part], color=color, linewidth=wide)
        axes.plot(rows[-1]["epochs"], rows[-1][column], color=color, marker=_MARKS[trial.state])
        axes.annotate(trial.name[-5:], (rows[-1]["epochs"], rows[-1][column]), fontsize=7, color=color)
    axes.set_xlabel("epochs")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    _legend(axes, {trial.state for trial in sweep.trials if trial.rows})
    return png(figure), "Learning curves. The mark shows how a trial ended; the thick line is the best finished trial."


def _cost(sweep: SweepRecord) -> tuple[bytes, str]:
    cost = "pixels" if len({_area(trial) for trial in sweep.trials if trial.rows}) > 1 else "images"
    cost = next((name for name in sweep.search["objective"] if name in ("images", "pixels")), cost)
    figure, axes = new_axes(9, 4.2)
    for trial in sweep.trials:
        value, price = trial.at_end(sweep.objective), trial.at_end(cost)
        if value is not None and price is not None:
            axes.plot(price, value, color=_COLORS[trial.state], marker=_MARKS[trial.state], linestyle="none")
            axes.annotate(trial.name[-5:], (price, value), fontsize=7, xytext=(4, 3), textcoords="offset points")
    front = sorted(
        (float(trial.at_end(cost) or 0), float(trial.at_end(sweep.objective) or 0)) for trial in sweep.pareto()
    )
    if len(sweep.search["objective"]) > 1 and front:
        axes.step(*zip(*front, strict=True), where="post", color="#1b7f3b", linewidth=1, alpha=0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel(FIGURES[cost][1])
    axes.set_ylabel(FIGURES[sweep.objective][1])
    axes.spines[["top", "right"]].set_visible(False)
    _legend(axes, {trial.state for trial in sweep.trials if trial.rows})
    return png(figure), "Each trial's last objective against its cost."


def _area(trial: TrialRecord) -> int:
    row = trial.rows[-1]
    return round(row["pixels"] / row["samples_seen"])


def _positions(values: list[Any]) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Positions of values on an axis from 0 to 1, and its ticks: even steps for up to six kinds, else by (log) size."""
    kinds = sorted({shown(value) for value in values}, key=lambda text: (_number(text), text))
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if not numeric or len(kinds) <= 6:
        positions = {kind: (number + 0.5) / len(kinds) for number, kind in enumerate(kinds)}
        return np.array([positions[shown(value)] for value in values]), [(at, kind) for kind, at in positions.items()]
    numbers = np.array(values, float)
    low, high = numbers.min(), numbers.max()
    log = low > 0 and high / low > 8
    scaled = np.log(numbers) if log else numbers
    ticks = np.geomspace(low, high, 5) if log else np.linspace(low, high, 5)
    return (scaled - scaled.min()) / np.ptp(scaled), [(number / 4, f"{tick:.3g}") for number, tick in enumerate(ticks)]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.inf


def _parallel(sweep: SweepRecord) -> tuple[bytes, str]:
    from matplotlib import colormaps

    trials = [trial for trial in sweep.trials if trial.counts and trial.at_end(sweep.objective) is not None]
    worst = [trial for trial in sweep.trials if not trial.counts]
    names = sweep.parameters
    figure, axes = new_axes(max(6.0, 1.9 * (len(names) + 1)), 4.4)
    everyone = [*trials, *worst]
    columns = [_positions([trial.values[name] for trial in everyone]) for name in names]
    values = np.array([float(trial.at_end(sweep.objective) or 0) for trial in trials])
    spread = float(np.ptp(values)) or 1.0
    ends = [*((values - values.min()) / spread), *[np.nan] * len(worst)]
    ticks = [(part / 4, f"{values.min() + part / 4 * spread:.3g}") for part in range(5)]
    columns.append((np.array(ends), ticks))
    for number, trial in enumerate(everyone):
        line = [column[number] for column, _ in columns]
        ok = trial in trials
        color = colormaps["viridis"](float(ends[number])) if ok else _COLORS["failed"]
        style = "-" if trial.state == "finished" else ("--" if ok else ":")
        axes.plot(range(len(line)), line, color=color, linestyle=style, linewidth=2.6 if trial == sweep.best else 1.3)
    for position, (_, marks) in enumerate(columns):
        axes.axvline(position, color="#444444", linewidth=0.8)
        for at, text in marks:
            paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
            axes.annotate(
                text, (position, at), fontsize=8, xytext=(4, 0), textcoords="offset points", va="center", bbox=paper
            )
    axes.set_xticks(range(len(columns)), [*names, FIGURES[sweep.objective][1]], fontsize=9)
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(columns) - 0.6)
    axes.spines[:].set_visible(False)
    text = "Each line is a trial, yellow the best. Solid: trained to the end; dashed: stopped early, with its last "
    return png(figure), text + "measurement; dotted red: failed or collapsed."


def importances(sweep: SweepRecord) -> tuple[dict[str, float], int, float] | None:
    """Fraction of the objective's variance that each parameter explains (fANOVA, by Optuna).

    All trials that count are compared at one epoch: the last one that at least `LEAST` of them reached. A stopped
    trial's last figure cannot be compared with a finished trial's.

    Returns:
        Fractions of the variance by parameter, the number of trials, and the epoch; None if too few trials reached the
        same epoch or all are alike.
    """
    column = FIGURES[sweep.objective][0]
    reached: dict[float, list[tuple[TrialRecord, float]]] = {}
    for trial in sweep.trials:
        for row in trial.rows if trial.counts and trial.generations == 1 else []:
            if row.get(column) is not None:
                reached.setdefault(row["epochs"], []).append((trial, row[column]))
    epochs = [epoch for epoch, trials in reached.items() if len(trials) >= LEAST]
    if not epochs:
        return None
    chosen = reached[max(epochs)]
    varied = [name for name in sweep.parameters if len({shown(trial.values[name]) for trial, _ in chosen}) > 1]
    if not varied or len({value for _, value in chosen}) < 2:
        return None
    return _fanova(chosen, varied), len(chosen), max(epochs)


def _fanova(chosen: list[tuple[TrialRecord, float]], names: list[str]) -> dict[str, float]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, Any] = {}
    for name in names:
        values = [trial.values[name] for trial, _ in chosen]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            distributions[name] = optuna.distributions.FloatDistribution(float(min(values)), float(max(values)))
        else:
            distributions[name] = optuna.distributions.CategoricalDistribution(sorted({shown(v) for v in values}))
    study = optuna.create_study(direction="maximize")
    for trial, value in chosen:
        parameters = {
            name: float(trial.values[name])
            if isinstance(distributions[name], optuna.distributions.FloatDistribution)
            else shown(trial.values[name])
            for name in names
        }
        study.add_trial(optuna.trial.create_trial(params=parameters, distributions=distributions, value=value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _importance(sweep: SweepRecord, fractions: dict[str, float], trials: int, epoch: float) -> tuple[bytes, str]:
    names = sorted(fractions, key=fractions.__getitem__)
    figure, axes = new_axes(7.5, 0.9 + 0.42 * len(names))
    axes.barh(names, [fractions[name] for name in names], color="#2b6cb0")
    axes.set_xlabel(f"fraction of the variance of {FIGURES[sweep.objective][1]} at epoch {epoch:g}")
    axes.spines[["top", "right"]].set_visible(False)
    few = " Few trials: a hint, not a finding." if trials < 30 else ""
    return png(figure), f"Importance of each parameter (fANOVA over {trials} trials at epoch {epoch:g}).{few}"
