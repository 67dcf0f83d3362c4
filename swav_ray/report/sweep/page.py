"""sweep.html: one page about a sweep that needs no other file, and its pictures as PNGs beside it."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from swav_ray import settings
from swav_ray.config import Config, ConfigError
from swav_ray.report.page.charts import Chart, Drawn, Level, Series, draw
from swav_ray.report.page.differences import against_recipe
from swav_ray.report.page.html import Tab, page
from swav_ray.report.page.write import footer
from swav_ray.report.sweep.plots import LEAST, pictures
from swav_ray.report.sweep.record import FIGURES, MEANINGS, SweepRecord, TrialRecord, shown, whole
from swav_ray.run.layout import SWEEP_PAGE
from swav_ray.storage.place import Place

_TABS = (
    Tab("overview", "Overview", "sweep_overview.html.j2"),
    Tab("trials", "Trials", "sweep_trials.html.j2"),
    Tab("parameters", "Parameters", "sweep_parameters.html.j2"),
    Tab("settings", "Settings", "sweep_settings.html.j2"),
)
_TONES = {"finished": 2, "stopped": 5, "running": 0, "collapsed": 4, "failed": 4}
_CURVES = "sweep_curves"  # drawn in the page itself
_HOW = ("searcher", "scheduler", "num_samples", "grace_epochs", "seed")


def write_report(sweep: SweepRecord, sweep_dir: Place) -> None:
    """Writes sweep.html, with its pictures inside it, and the same pictures as PNGs beside it."""
    drawn = pictures(sweep)
    for name, (data, _) in drawn.items():
        (sweep_dir / f"{name}.png").write_bytes(data)
    missing = f"No picture of the parameters' importance: it needs {LEAST} trials measured after the same epoch."
    note = "" if "sweep_importance" in drawn else missing
    (sweep_dir / SWEEP_PAGE).write_bytes(_page(sweep, drawn, note).encode())


def _page(sweep: SweepRecord, drawn: dict[str, tuple[bytes, str]], note: str) -> str:
    names = sweep.search["objective"] + [name for name in ("images",) if name not in sweep.search["objective"]]
    ranked = sweep.ranked()
    rest = [trial for trial in sweep.trials if trial not in ranked]
    recipe, changed = _recipe(sweep)
    context = {
        "footer": footer(),
        "summary": sweep.summary_lines(),
        "how": ", ".join(f"{key.replace('_', ' ')} {shown(sweep.search[key])}" for key in _HOW),
        "space": list(sweep.search["space"].items()),
        "best": sweep.best,
        "caveat": sweep.caveat,
        "curves": _curves(sweep),
        "head": ["trial", *sweep.parameters, *(FIGURES[name][1] for name in names), "epochs", "minutes"],
        "rows": [_row(trial, sweep, names) for trial in [*ranked, *rest]],
        "pictures": [
            (text, base64.b64encode(data).decode()) for name, (data, text) in drawn.items() if name != _CURVES
        ],
        "missing": [note] if note else [],
        "recipe": recipe,
        "changed": changed,
    }
    meanings = {trial.state: MEANINGS.get(trial.state, trial.state) for trial in sweep.trials}
    subtitle = "; ".join(f"{state}: {text}" for state, text in meanings.items()) or "no trial yet"
    return page(f"Sweep {sweep.name}", subtitle, _TABS, context)


def _curves(sweep: SweepRecord) -> Drawn | None:
    """Learning curves, the best first, with what must be beaten."""
    column, label = FIGURES[sweep.objective]
    first = [sweep.best] if sweep.best else []
    series = [
        Series(
            f"{trial.name}{' (best)' if trial == sweep.best else ''}: {trial.state}",
            np.array([row["epochs"] for row in trial.rows], float),
            np.array([np.nan if row.get(column) is None else row[column] for row in trial.rows], float),
            _TONES.get(trial.state, 7),
            "line" if trial == sweep.best else "thin",
        )
        for trial in [*first, *(trial for trial in sweep.trials if trial not in first)]
        if trial.rows
    ]
    known = {"untrained network": sweep.baseline("untrained"), "raw pixels": sweep.baseline("pixels")}
    of_knn = sweep.objective == "knn"
    levels = [Level(value, text) for text, value in known.items() if of_knn and value is not None]
    note = "The thick line is the best finished trial; a curve that ends early was stopped there."
    return draw(Chart(f"Learning curves, {label}", "epoch", label, series, levels, note=note, whole=True))


def _recipe(sweep: SweepRecord) -> tuple[str, list[tuple[str, str, str, bool]]]:
    """The nearest recipe and the settings that all trials have otherwise; nothing for a sweep that does not say."""
    if not sweep.config:
        return "", []
    try:
        config = settings.from_document(sweep.config, Config(), "sweep.yaml")
    except (ConfigError, settings.UnknownSetting):  # of another version
        return "", []
    name, rows = against_recipe(config)
    return name, [row for row in rows if row[3]]


def _row(trial: TrialRecord, sweep: SweepRecord, names: list[str]) -> dict[str, Any]:
    """A trial as a line of the table: its cells, how it ended, and what it is to the sweep."""
    figures = [shown(trial.at_end(name)) if trial.counts or name == "images" else "-" for name in names]
    epochs = whole(trial.rows[-1]["epochs"]) if trial.rows else "0"
    name = f"{trial.name} (recipe)" if trial == sweep.of_recipe else trial.name
    cells = [name, *(shown(trial.values.get(key)) for key in sweep.parameters), *figures, epochs]
    kind = "best" if trial == sweep.best else "ended-badly" if trial.state in ("collapsed", "failed") else ""
    return {"kind": kind, "cells": [*cells, f"{trial.seconds / 60:.1f}"], "how": sweep.why(trial)}
