"""What a run directory says of a run, read once. Files only, so a run can be read while it trains, from anywhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swav_ray.config import Config
from swav_ray.report.begun import config_of, held_out_images
from swav_ray.run import layout, measurements
from swav_ray.run.health_log import read_health
from swav_ray.run.history import read_history
from swav_ray.run.line_file import read_lines
from swav_ray.run.metrics_log import read_metrics
from swav_ray.run.state import FINISHED, RUNNING, state_of, why_ended
from swav_ray.storage.place import Place

Lines = list[dict[str, Any]]


@dataclass(frozen=True)
class RunRecord:
    """A run as its directory has it; what is not there is empty.

    Attributes:
        place: its directory. config: its settings. state: see `run.state`.
        steps: metrics.jsonl. measured: measurements.jsonl. history, health, quarantine: the files of that name.
        held_out: images of held_out.parquet. evaluations: a results.json each.
        summary, environment: the files of that name.
    """

    place: Place
    config: Config
    state: str
    steps: Lines
    measured: Lines
    history: Lines
    health: Lines
    quarantine: Lines
    held_out: int
    evaluations: Lines
    summary: dict[str, Any]
    environment: dict[str, Any]

    @property
    def name(self) -> str:
        return self.config.run.name or self.place.name

    @property
    def why(self) -> str:
        """Why it failed or ended for its health; '' if it did neither."""
        return "" if self.state in (FINISHED, RUNNING) else why_ended(self.history)

    @property
    def ln_k(self) -> float:
        """The loss of a run that learns nothing: the mean over prototype heads of the logarithm of their number."""
        return float(np.mean(np.log(self.config.model.prototypes)))

    @property
    def queries(self) -> int:
        """Held-out images that kNN was measured on; 0 if it is not known."""
        if "knn_queries" in self.summary:
            return int(self.summary["knn_queries"])
        return min(self.held_out, self.config.eval.max_queries)

    def column(self, name: str) -> np.ndarray:
        """(steps,) of metrics.jsonl; NaN if a step has no such figure."""
        return column(self.steps, name)


def column(lines: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    """(lines,) float64 of one figure; NaN if a line has none."""
    return np.array([np.nan if (value := line.get(name)) is None else value for line in lines], float)


def read_run(run_dir: Place) -> RunRecord:
    """Reads a run.

    Raises:
        PlaceError: no run lies there. ConfigError: its config is of another version.
    """
    return RunRecord(
        place=run_dir,
        config=config_of(run_dir),
        state=state_of(run_dir),
        steps=read_metrics(run_dir),
        measured=measurements.read(run_dir),
        history=read_history(run_dir),
        health=read_health(run_dir),
        quarantine=read_lines(run_dir / layout.QUARANTINE),
        held_out=held_out_images(run_dir),
        evaluations=_evaluations(run_dir),
        summary=document(run_dir / layout.SUMMARY),
        environment=document(run_dir / layout.ENVIRONMENT),
    )


def document(file: Place) -> dict[str, Any]:
    """A JSON object; empty if there is no such file, or a crash left half of it."""
    try:
        found = json.loads(file.read_bytes())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _evaluations(run_dir: Place) -> Lines:
    below = run_dir / layout.EVALUATIONS
    names = sorted(entry.name for entry in below.list() if entry.name.endswith(f"/{layout.RESULTS}"))
    return [found for name in names if (found := document(below / name)).get("protocol")]
