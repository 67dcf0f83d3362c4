"""A sweep as its directory tells it: trials, their measurements and how they ended; sweep.html with its pictures.

Reads files only, so a page can be made of a sweep that is still running or was made elsewhere.
"""

from __future__ import annotations

import base64
import html
import json
from dataclasses import dataclass
from typing import Any

import yaml

from swav_ray.run import measurements
from swav_ray.run.layout import CONFIG, SWEEP, SWEEP_PAGE, TRIAL, TRIALS
from swav_ray.storage.place import Place

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
    """One trial; `rows` are its measurements over all generations, `values` those of the last one."""

    name: str
    values: dict[str, Any]
    state: str
    reason: str
    seconds: float
    generations: int
    rows: list[dict[str, Any]]

    def at_end(self, objective: str) -> float | None:
        """The last measured figure of an objective or a cost; None where there is none."""
        column = FIGURES[objective][0]
        return next((row[column] for row in reversed(self.rows) if row.get(column) is not None), None)

    @property
    def counts(self) -> bool:
        """Whether its figures may be compared: it neither failed nor collapsed, and was measured."""
        return self.state in ("finished", "stopped", "running") and bool(self.rows)


@dataclass(frozen=True)
class Sweep:
    """A sweep's trials, how it searched (`search` of sweep.yaml), and the recipe's own values, if a trial has them."""

    name: str
    search: dict[str, Any]
    seconds: float
    trials: list[TrialRecord]
    own: dict[str, Any] | None = None

    @property
    def of_recipe(self) -> TrialRecord | None:
        """The trial that has the recipe's own values, from its start to its end."""
        own = (trial for trial in self.trials if trial.generations == 1 and trial.values == self.own)
        return next(own, None)

    @property
    def objective(self) -> str:
        return str(self.search["objective"][0])

    def ranked(self) -> list[TrialRecord]:
        """Finished trials, the best first; then the others that count, by how far they came and what they had."""

        def key(trial: TrialRecord) -> tuple[bool, float, float]:
            value = trial.at_end(self.objective)
            far = trial.rows[-1]["epochs"] if trial.state != "finished" else 0.0
            return trial.state == "finished", far, float("-inf") if value is None else value

        return sorted((trial for trial in self.trials if trial.counts), key=key, reverse=True)

    @property
    def best(self) -> TrialRecord | None:
        """The best finished trial, by its last measurement; None where none has finished."""
        ranked = self.ranked()
        return ranked[0] if ranked and ranked[0].state == "finished" else None

    @property
    def caveat(self) -> str:
        """What must be known about the best trial's values, in a line; empty where it was trained with them alone."""
        if self.best is None or self.best.generations == 1:
            return ""
        return (
            "Population-based training changed the best trial's values on the way; these are the last ones, with which "
            "it ended. A run that begins with them is another run, and may end elsewhere."
        )

    @property
    def parameters(self) -> list[str]:
        return list(self.search["space"])

    def pareto(self) -> list[TrialRecord]:
        """Finished trials that no other beats in every objective, the best in the first one first."""
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
        """How it went, for the terminal."""
        states = {state: [trial for trial in self.trials if trial.state == state] for state in MEANINGS}
        counted = ", ".join(f"{len(trials)} {state}" for state, trials in states.items() if trials)
        images = sum(float(trial.at_end("images") or 0) for trial in self.trials)
        lines = [f"{len(self.trials)} trials: {counted}; {images:,.0f} images, {self.seconds / 60:.1f} min"]
        lines += [f"{trial.state}: trial {trial.name}: {trial.reason}" for trial in states["collapsed"]]
        lines += [f"{trial.state}: trial {trial.name}: {trial.reason}" for trial in states["failed"]]
        if states["running"]:
            lines.append(f"{len(states['running'])} trials are not finished: the same command goes on with them")
        if self.best is None:
            return [*lines, "no trial has finished, so there is no best one"]
        values = ", ".join(f"{name} {shown(value)}" for name, value in self.best.values.items())
        figure = shown(self.best.at_end(self.objective))
        lines.append(f"best: trial {self.best.name}, {FIGURES[self.objective][1]} {figure}: {values}")
        if (own := self.of_recipe) is None or not own.counts:
            return lines
        if own == self.best:
            return [*lines, "these are the recipe's own values: nothing else that was trained to the end is better"]
        epochs = f" after {own.rows[-1]['epochs']:g} epochs" if own.state != "finished" else ""
        return [*lines, f"the recipe's own values: trial {own.name}, {shown(own.at_end(self.objective))}{epochs}"]


def read_sweep(sweep_dir: Place) -> Sweep:
    """A sweep from its directory."""
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
        trials.append(TrialRecord(name, last["values"], last["state"], last["reason"], seconds, len(folders), rows))
    return Sweep(sweep_dir.name, document["search"], document.get("seconds", 0.0), trials, document.get("own"))


def _area(run_dir: Place) -> int:
    """Pixels that the crops of an image have."""
    crops = yaml.safe_load((run_dir / CONFIG).read_bytes())["crops"]
    return sum(count * size * size for count, size in zip(crops["counts"], crops["sizes"], strict=True))


def shown(value: Any) -> str:
    """A value for people: four digits of a number that is not whole."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_report(sweep: Sweep, sweep_dir: Place) -> None:
    """Writes sweep.html, one file that needs no other, and its pictures as PNGs beside it."""
    from swav_ray.report.sweep.plots import LEAST, pictures

    drawn = pictures(sweep)
    for name, (data, _) in drawn.items():
        (sweep_dir / f"{name}.png").write_bytes(data)
    missing = f"No picture of each parameter's importance: it needs {LEAST} trials measured after the same epoch."
    note = "" if "sweep_importance" in drawn else missing
    (sweep_dir / SWEEP_PAGE).write_bytes(_page(sweep, drawn, note).encode())


def _page(sweep: Sweep, drawn: dict[str, tuple[bytes, str]], note: str) -> str:
    names = sweep.search["objective"] + [name for name in ("images",) if name not in sweep.search["objective"]]
    head = ["trial", *sweep.parameters, *(FIGURES[name][1] for name in names), "epochs", "minutes", "how it ended"]
    ranked = sweep.ranked()
    rest = [trial for trial in sweep.trials if trial not in ranked]
    rows = "".join(_row(trial, sweep, names) for trial in [*ranked, *rest])
    figures = "".join(
        f'<figure><img alt="{html.escape(text)}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'
        f"<figcaption>{html.escape(text)}</figcaption></figure>"
        for data, text in drawn.values()
    )
    summary = "".join(f"<li>{html.escape(line)}</li>" for line in sweep.summary_lines())
    how = ", ".join(
        f"{key.replace('_', ' ')} {shown(sweep.search[key])}"
        for key in ("searcher", "scheduler", "num_samples", "grace_epochs", "seed")
    )
    space = "".join(f"<li><code>{html.escape(f'{k}: {v}')}</code></li>" for k, v in sweep.search["space"].items())
    best = f"""<p>best.yaml, beside this file, is the best finished trial's config: <code>python -m swav_ray.pretrain
--config best.yaml</code>. It was chosen by its last measurement, on the held-out images: report its quality on others.
{html.escape(sweep.caveat)}</p>"""
    if sweep.best is None:
        best = "<p>No trial has finished, so there is no best.yaml.</p>"
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>sweep {html.escape(sweep.name)}</title>
<style>body{{font:15px/1.45 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}}
table{{border-collapse:collapse;font-size:13px}}td,th{{padding:3px 9px;text-align:right;border-bottom:1px solid #ddd}}
td:last-child,th:last-child,td:first-child,th:first-child{{text-align:left}}tr.best{{background:#e6f4e6}}
tr.collapsed,tr.failed{{color:#a33}}tr.stopped{{color:#777}}figure{{margin:2em 0}}img{{max-width:100%}}
figcaption{{color:#555}}.wide{{overflow-x:auto}}</style></head><body>
<h1>Sweep {html.escape(sweep.name)}</h1><ul>{summary}</ul><p>{html.escape(how)}</p><ul>{space}</ul>
{best}
{figures}<p>{html.escape(note)}</p>
<h2>Trials</h2><div class="wide"><table><tr>{"".join(f"<th>{html.escape(h)}</th>" for h in head)}</tr>{rows}
</table></div></body></html>"""


def _row(trial: TrialRecord, sweep: Sweep, names: list[str]) -> str:
    best = " best" if trial == sweep.best else ""
    figures = [shown(trial.at_end(name)) if trial.counts or name == "images" else "-" for name in names]
    epochs = f"{trial.rows[-1]['epochs']:g}" if trial.rows else "0"
    how = MEANINGS.get(trial.state, trial.state) + (f": {trial.reason}" if trial.reason else "")
    if trial.generations > 1:
        how += f"; {trial.generations - 1} times from a copied checkpoint"
    name = f"{trial.name} (recipe)" if trial == sweep.of_recipe else trial.name
    cells = [name, *(shown(trial.values.get(name)) for name in sweep.parameters), *figures, epochs]
    cells += [f"{trial.seconds / 60:.1f}", how]
    return f'<tr class="{trial.state}{best}">' + "".join(f"<td>{html.escape(str(c))}</td>" for c in cells) + "</tr>"
