"""All runs below a storage, each as a line of a table, from its files alone: there is no server and no database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import log
from statistics import fmean, median
from typing import Any

from swav_ray import settings
from swav_ray.config import Config, ConfigError
from swav_ray.run import layout, measurements
from swav_ray.run.health_log import read_health
from swav_ray.run.history import read_history
from swav_ray.run.metrics_log import read_metrics
from swav_ray.run.state import FINISHED, RUNNING, state_of, why_ended
from swav_ray.storage.place import Place

_ENDS = f"/{layout.CONFIG}"


@dataclass(frozen=True)
class RunLine:
    """A run in a table; what is not known is None, or ''.

    Attributes:
        run: its directory, relative to the storage. state: see `run.state`; why: it failed or ended for its health.
        health: in one word.
        step, steps: done, and of the whole run. epochs: done. loss: mean of the last epoch, or of the newest step.
        ln_k: the loss that teaches nothing. knn, untrained: top-1 in percent. images_per_second: the median.
        goodput: the fraction of the time that trained. worker_hours: that training took, times the workers: what a
            price an hour makes the cost of.
        started: Unix seconds of the first step.
    """

    run: str
    state: str
    health: str = ""
    step: int = 0
    steps: int | None = None
    epochs: float | None = None
    loss: float | None = None
    ln_k: float | None = None
    knn: float | None = None
    untrained: float | None = None
    images_per_second: float | None = None
    goodput: float | None = None
    worker_hours: float | None = None
    started: float | None = None
    why: str = ""
    problem: str = ""

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def runs_below(storage: Place) -> list[RunLine]:
    """A line for every run directory below a place, trials of sweeps included, by their names.

    Raises:
        StorageUnavailable: it does not answer.
    """
    names = sorted(
        entry.name.removesuffix(layout.CONFIG).rstrip("/")
        for entry in storage.list()
        if (entry.name == layout.CONFIG or entry.name.endswith(_ENDS))
        and f"/{layout.REFUSED}/" not in f"/{entry.name}"  # what a replay needs of a step
    )
    return [_line(storage / name, name or storage.name) for name in names]


def ordered(lines: Sequence[RunLine], by: str) -> list[RunLine]:
    """By a figure, the highest first (a loss: the lowest), or by a word; those without it last."""

    def key(line: RunLine) -> tuple[bool, Any]:
        value = getattr(line, by)
        if isinstance(value, str):
            return value == "", value
        falls = -1 if by not in ("loss", "ln_k") else 1
        return value is None, falls * (value or 0)

    return sorted(lines, key=key)


def _line(run_dir: Place, name: str) -> RunLine:
    try:
        return _read(run_dir, name)
    except (ConfigError, settings.UnknownSetting, ValueError, LookupError, TypeError, UnicodeDecodeError) as error:
        # A table of a hundred runs is worth more than the one that another version wrote.
        return RunLine(run=name, state="unreadable", problem=" ".join(str(error).split()))


def _read(run_dir: Place, name: str) -> RunLine:
    config = settings.from_yaml((run_dir / layout.CONFIG).read_bytes().decode(), Config(), str(run_dir))
    summary = _summary(run_dir)
    steps = read_metrics(run_dir)
    health = read_health(run_dir)
    measured = [row["knn_top1"] for row in measurements.read(run_dir) if row.get("knn_top1") is not None]
    known = summary.get("knn_top1") or {}
    losses = [step["loss"] for step in steps[-1:] if step["loss"] is not None]
    last = steps[-1] if steps else {}
    state = state_of(run_dir)
    return RunLine(
        run=name,
        state=state,
        why="" if state in (FINISHED, RUNNING) else why_ended(read_history(run_dir)),
        health=str((summary.get("verdict") or {}).get("health") or (health[-1].get("word", "") if health else "")),
        step=last.get("step", -1) + 1,
        steps=last.get("steps"),
        epochs=(last["step"] + 1) * config.train.epochs / last["steps"] if steps else None,
        loss=summary.get("loss_last_epoch") or next(iter(losses), None),
        ln_k=fmean(map(log, config.model.prototypes)),
        knn=known.get("trained", measured[-1] if measured else None),
        untrained=known.get("untrained"),
        images_per_second=median(step["images_per_second"] for step in steps) if steps else None,
        goodput=(summary.get("seconds") or {}).get("goodput"),
        worker_hours=sum(step["seconds"] * step["workers"] for step in steps) / 3600 if steps else None,
        started=steps[0]["time"] - steps[0]["seconds"] if steps else None,
    )


def _summary(run_dir: Place) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((run_dir / layout.SUMMARY).read_bytes())
    except FileNotFoundError:
        return {}
    return found
