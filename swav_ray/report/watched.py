"""A run that another process trains, followed by its files, local or on S3: what is new since the last look."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from math import log
from statistics import fmean, median
from typing import Any

from swav_ray.report.begun import config_of, held_out_images
from swav_ray.report.progress import Progress
from swav_ray.report.silence import duration
from swav_ray.run import checkpoint_files, layout, measurements
from swav_ray.run.health_log import read_health
from swav_ray.run.history import read_history
from swav_ray.run.scores import standard_error
from swav_ray.run.state import FINISHED, RUNNING, state_of, why_ended
from swav_ray.storage.place import Place

_PACE = 50  # of the newest steps, whose pace is expected of those to come
_LATE = 10.0  # seconds without a step that are worth a line
_KNN = "knn_top1"


class WatchedRun:
    """A run's progress by its files.

    Args:
        run_dir: the run directory.
        clock: Unix seconds.

    Raises:
        PlaceError: no run lies there. ConfigError: its config is of another version.
    """

    def __init__(self, run_dir: Place, clock: Callable[[], float] = time.time) -> None:
        self._run_dir, self._clock = run_dir, clock
        config = config_of(run_dir)
        ln_k = fmean(map(log, config.model.prototypes))
        self.progress = Progress(name=config.run.name, epochs=config.train.epochs, ln_k=ln_k)
        self._most_queries = config.eval.max_queries
        self._metrics = _Tail(run_dir / layout.METRICS)
        self._times: dict[int, float] = {}  # when a step was done, by the step
        self.state = self.why = ""

    def look(self) -> None:
        """Reads what is new. Raises OSError when the storage is unavailable."""
        self.state = state_of(self._run_dir)
        self.why = "" if self.state in (FINISHED, RUNNING) else why_ended(read_history(self._run_dir))
        lines, anew = self._metrics.read()
        if anew:  # the run has gone back to a checkpoint
            self.progress.losses.clear()
            self.progress.changes.clear()
            self._times.clear()
        for line in lines:
            self._step(line)
        self._expect()
        self._measured()
        if health := read_health(self._run_dir):
            self.progress.health, self.progress.why = health[-1].get("word", ""), health[-1].get("why", "")
        if steps := checkpoint_files.steps(self._run_dir):
            self.progress.with_checkpoint(steps[-1], self._times.get(steps[-1] - 1, self._clock()))

    def line(self) -> str:
        """The progress in a line, for what is no terminal."""
        run = self.progress
        parts = [f"{run.name}: {self.state}"]
        if run.steps:
            parts.append(f"epoch {run.epoch}/{run.epochs}  step {run.step}/{run.steps}")
        if run.losses:
            parts.append(f"loss {run.losses[-1]:.4f} (ln K {run.ln_k:.2f})")
        if run.knn:
            parts.append(f"kNN {run.knn[-1][1]:.1f}% \N{PLUS-MINUS SIGN} {run.knn[-1][2]:.1f}")
        if run.images_per_second:
            parts.append(f"{run.images_per_second:,.0f} images/s")
        parts += [run.health] if run.health else []
        parts += [f"ETA {duration(run.eta)}"] if run.eta is not None else []
        return "  ".join([*parts, *(text for text in (run.now, self.why) if text)])

    def _step(self, line: dict[str, Any]) -> None:
        run = self.progress
        run.step, run.steps, run.epoch = line["step"] + 1, line["steps"], line["epoch"] + 1
        run.images_per_second, run.data_wait = line["images_per_second"], line["data_wait"]
        run.with_workers(line["workers"], line["step"])
        self._times[line["step"]] = line["time"]
        if line["loss"] is not None:
            run.losses.append(line["loss"])

    def _expect(self) -> None:
        """How long the rest takes, and whether the next step is late."""
        run, times = self.progress, list(self._times.values())[-_PACE:]
        run.eta, run.now = None, ""
        if self.state != RUNNING:
            return
        if not times:
            run.now = "no step yet"
            return
        if len(times) > 1:
            run.eta = median(b - a for a, b in itertools.pairwise(times)) * (run.steps - run.step)
        if (silent := self._clock() - times[-1]) > _LATE:
            where = "" if self._run_dir.is_local else "; on S3 steps show with each checkpoint"
            run.now = f"no new step for {duration(silent)}{where}"

    def _measured(self) -> None:
        rows = [row for row in measurements.read(self._run_dir) if row.get(_KNN) is not None]
        self.progress.knn = [(row["epochs"], row[_KNN], self._error(row)) for row in rows]

    def _error(self, row: dict[str, Any]) -> float:
        """The standard error of a kNN accuracy; runs of 0.1.0 have not written it."""
        if "knn_error" in row:
            return float(row["knn_error"])
        return standard_error(row[_KNN], min(held_out_images(self._run_dir), self._most_queries))


class _Tail:
    """The lines of a file that have come since the last time."""

    def __init__(self, file: Place) -> None:
        self._file = file
        self._read = 0
        self._last = b""  # line that was read: another in its place means that the file was written anew

    def read(self) -> tuple[list[dict[str, Any]], bool]:
        """New whole lines, and whether the file was written anew, so that they are all there are."""
        try:
            size = self._file.stat().size
        except FileNotFoundError:
            return [], False
        begin = self._read - len(self._last)
        data = self._file.read_range(begin, size - begin)
        if anew := not data.startswith(self._last):
            begin, self._last = 0, b""
            data = self._file.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole[len(self._last) :].splitlines(keepends=True)
        self._read = begin + len(whole)
        self._last = lines[-1] if lines else self._last
        return [json.loads(line) for line in lines], anew
