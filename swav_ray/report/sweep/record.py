"""What a sweep's directory says: its trials, what they measured, how they ended, and which is best.

It reads files only, so a sweep can be read while it runs, or on another machine.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

import yaml

from swav_ray import settings
from swav_ray.config import Config
from swav_ray.run import measurements
from swav_ray.run.layout import CONFIG, SUMMARY, SWEEP, SWEEP_PAGE, TRIAL, TRIALS
from swav_ray.storage.place import Place

_STOPPED = 12  # trials whose end the terminal explains
MEANINGS = {
    "finished": "trained to the end",
    "stopped": "stopped early",
    "collapsed": "ended early: it had stopped learning",
    "failed": "ended with an error",
    "running": "not finished",
}
FIGURES = {
    "knn": ("knn_top1", "kNN top-1, %"),
    "rankme": ("rankme", "RankMe"),
    "agreement": ("code_agreement", "agreement of codes"),
    "information": ("code_information", "information of codes, nats"),
    "images": ("samples_seen", "images processed"),
    "pixels": ("pixels", "pixels processed"),
}


@dataclass(frozen=True)
class TrialRecord:
    """One trial: its measurements (`rows`) over all generations, and the `values` of its last generation.

    `baselines`: kNN in percent of the untrained network and of raw pixels, if it was measured to its end.
    """

    name: str
    values: dict[str, Any]
    state: str
    reason: str
    seconds: float
    generations: int
    rows: list[dict[str, Any]]
    baselines: dict[str, float] = field(default_factory=dict)

    def at_end(self, objective: str) -> float | None:
        """The last measured figure of an objective or a cost; None if it was never measured."""
        column = FIGURES[objective][0]
        return next((row[column] for row in reversed(self.rows) if row.get(column) is not None), None)

    @property
    def counts(self) -> bool:
        """Whether its figures may be compared: it was measured, and neither failed nor collapsed."""
        return self.state in ("finished", "stopped", "running") and bool(self.rows)


@dataclass(frozen=True)
class SweepRecord:
    """A sweep: its trials, how it searched (`search` of sweep.yaml), the recipe's `own` values if known, and what
    trials had in common (`config`), section by section."""

    name: str
    search: dict[str, Any]
    seconds: float
    trials: list[TrialRecord]
    own: dict[str, Any] | None = None
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def of_recipe(self) -> TrialRecord | None:
        """The trial that had the recipe's own values from start to end; None if there is none."""
        own = (trial for trial in self.trials if trial.generations == 1 and trial.values == self.own)
        return next(own, None)

    @property
    def objective(self) -> str:
        return str(self.search["objective"][0])

    def ranked(self) -> list[TrialRecord]:
        """Finished trials, the best first; then the others that count, by epochs trained and then by objective."""

        def key(trial: TrialRecord) -> tuple[bool, float, float]:
            value = trial.at_end(self.objective)
            far = trial.rows[-1]["epochs"] if trial.state != "finished" else 0.0
            return trial.state == "finished", far, float("-inf") if value is None else value

        return sorted((trial for trial in self.trials if trial.counts), key=key, reverse=True)

    @property
    def best(self) -> TrialRecord | None:
        """The best finished trial by its last measurement; None if none has finished."""
        ranked = self.ranked()
        return ranked[0] if ranked and ranked[0].state == "finished" else None

    def baseline(self, name: str) -> float | None:
        """kNN in percent of `untrained` networks or of raw `pixels`, the mean over trials; None if never measured."""
        known = [trial.baselines[name] for trial in self.trials if name in trial.baselines]
        return fmean(known) if known else None

    def why(self, trial: TrialRecord) -> str:
        """How a trial ended and why; of one that was stopped, where it stood among the others at that epoch."""
        how = MEANINGS.get(trial.state, trial.state) + (f": {trial.reason}" if trial.reason else "")
        if trial.state == "stopped" and (beside := self._beside(trial)):
            how += f", {beside}"
        if trial.generations > 1:
            how += f"; {trial.generations - 1} times from a copied checkpoint"
        return how

    def _beside(self, trial: TrialRecord) -> str:
        column = FIGURES[self.objective][0]
        # A trial trains on while the scheduler decides, so it may have been measured after the epoch it is stopped for.
        decided = re.search(r"after epoch (\d+)$", trial.reason)
        until = float(decided[1]) if decided else math.inf
        known = (row for row in reversed(trial.rows) if row.get(column) is not None and row["epochs"] <= until)
        last = next(known, None)
        if last is None:
            return ""
        others = [
            row[column]
            for other in self.trials
            if other.counts and other != trial
            for row in other.rows
            if row["epochs"] == last["epochs"] and row.get(column) is not None
        ]
        if not others:
            return ""
        return f"at {shown(last[column])} where the median of {len(others)} others was {shown(median(others))}"

    @property
    def caveat(self) -> str:
        """A warning about the best trial's values, in one line; empty if it was trained with them from the start."""
        if self.best is None or self.best.generations == 1:
            return ""
        return (
            "Population-based training changed the best trial's values while it trained; these are its last ones. "
            "A run that begins with them is another run, and may end elsewhere."
        )

    @property
    def parameters(self) -> list[str]:
        return list(self.search["space"])

    def pareto(self) -> list[TrialRecord]:
        """Finished trials that no other trial beats in every objective, ordered by the first objective."""
        names = self.search["objective"]
        finished = [trial for trial in self.ranked() if trial.state == "finished"]
        points = {
            trial.name: [(-1 if name in ("images", "pixels") else 1) * (trial.at_end(name) or 0.0) for name in names]
            for trial in finished
        }

        def beaten(trial: TrialRecord) -> bool:
            own = points[trial.name]
            return any(
                all(o >= s for o, s in zip(other, own, strict=True)) and other != own for other in points.values()
            )

        return [trial for trial in finished if not beaten(trial)]

    def summary_lines(self) -> list[str]:
        """How the sweep went, for the terminal and the page."""
        states = {state: [trial for trial in self.trials if trial.state == state] for state in MEANINGS}
        counted = ", ".join(f"{len(trials)} {state}" for state, trials in states.items() if trials)
        images = sum(float(trial.at_end("images") or 0) for trial in self.trials)
        lines = [f"{len(self.trials)} trials: {counted}; {images:,.0f} images, {self.seconds / 60:.1f} min"]
        lines += [f"{trial.state}: trial {trial.name}: {trial.reason}" for trial in states["collapsed"]]
        lines += [f"{trial.state}: trial {trial.name}: {trial.reason}" for trial in states["failed"]]
        stopped = states["stopped"]
        lines += [f"{trial.name}: {self.why(trial)}" for trial in stopped[:_STOPPED]]
        if len(stopped) > _STOPPED:
            lines.append(f"and {len(stopped) - _STOPPED} more were stopped; {SWEEP_PAGE} says why")
        if (untrained := self.baseline("untrained")) is not None:
            pixels = self.baseline("pixels")
            lines.append(
                f"to be beaten: untrained networks {untrained:.1f}%"
                + (f", raw pixels {pixels:.1f}%" if pixels is not None else "")
            )
        if states["running"]:
            lines.append(f"{len(states['running'])} trials are not finished: the same command resumes them")
        if self.best is None:
            return [*lines, "no trial has finished, so there is no best one"]
        values = ", ".join(f"{name} {shown(value)}" for name, value in self.best.values.items())
        figure = shown(self.best.at_end(self.objective))
        lines.append(f"best: trial {self.best.name}, {FIGURES[self.objective][1]} {figure}: {values}")
        if (own := self.of_recipe) is None or not own.counts:
            return lines
        if own == self.best:
            return [*lines, "these are the recipe's own values: no other finished trial is better"]
        epochs = f" after {whole(own.rows[-1]['epochs'])} epochs" if own.state != "finished" else ""
        return [*lines, f"the recipe's own values: trial {own.name}, {shown(own.at_end(self.objective))}{epochs}"]


def read_sweep(sweep_dir: Place) -> SweepRecord:
    """Reads a sweep from its directory.

    Raises:
        FileNotFoundError: no sweep.yaml lies there.
    """
    document = yaml.safe_load((sweep_dir / SWEEP).read_bytes())
    runs: dict[str, list[Place]] = {}
    abouts: dict[str, dict[str, Any]] = {}
    for entry in (sweep_dir / TRIALS).list():
        folder, _, file = entry.name.partition("/")
        if file == TRIAL:
            run_dir = sweep_dir / TRIALS / folder
            abouts[run_dir.uri] = json.loads((run_dir / file).read_bytes())
            runs.setdefault(abouts[run_dir.uri]["trial"], []).append(run_dir)
    trials = []
    for name, folders in sorted(runs.items()):
        folders.sort(key=lambda folder: abouts[folder.uri]["generation"])
        last = abouts[folders[-1].uri]
        rows = [
            {**row, "generation": abouts[folder.uri]["generation"]}
            for folder in folders
            for row in measurements.read(folder)
        ]
        areas = [_area(folder) for folder in folders]
        for row in rows:
            row["pixels"] = row["samples_seen"] * areas[row["generation"]]
        seconds = sum(abouts[folder.uri]["seconds"] for folder in folders)
        known = _baselines(folders[-1])
        ended = last["values"], last["state"], last["reason"]
        trials.append(TrialRecord(name, *ended, seconds, len(folders), rows, known))
    about = document["search"], document.get("seconds", 0.0), trials, document.get("own"), document.get("config", {})
    return SweepRecord(sweep_dir.name, *about)


def _baselines(run_dir: Place) -> dict[str, float]:
    try:
        known = json.loads((run_dir / SUMMARY).read_bytes()).get("knn_top1") or {}
    except FileNotFoundError:
        return {}
    return {name: float(known[name]) for name in ("untrained", "pixels") if name in known}


def _area(run_dir: Place) -> int:
    """Pixels of all crops of one image."""
    text = (run_dir / CONFIG).read_bytes().decode()
    return settings.from_yaml(text, Config(), str(run_dir / CONFIG)).crops.pixels


def whole(epochs: float) -> str:
    """Epochs as a whole number: a trial is measured between two of them."""
    return f"{round(epochs)}"


def shown(value: Any) -> str:
    """A value as text; a float with four significant digits."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
