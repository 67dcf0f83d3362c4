"""metrics.jsonl and TensorBoard events of a run directory, local or on S3.

A line a step, in the order of the committed lineage: after a restart the lines past the checkpoint are dropped, since
those steps are computed again.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from swav_ray.run.events import Events
from swav_ray.run.fit_record import FitRecord
from swav_ray.run.layout import EVENTS, METRICS, TRIAL
from swav_ray.run.line_file import LineFile, Record, read_lines
from swav_ray.run.step_record import StepRecord
from swav_ray.storage.place import Place

_OF_THE_STEP = ("step", "steps", "epoch", "samples_seen", "time")  # TensorBoard has them as its axes


def read_metrics(run_dir: Place) -> list[Record]:
    """The lines of a run's metrics.jsonl; a last line cut short by a crash is left out."""
    return read_lines(run_dir / METRICS)


def logged_steps(run_dir: Place) -> int | None:
    """The step up to which steps have their lines, from the first on without a gap; None if there is no file.

    The first is 0, or the step of the checkpoint that a trial of a sweep was begun with.
    """
    if not (run_dir / METRICS).exists():
        return None
    done = _first_step(run_dir)
    for record in read_metrics(run_dir):
        if record["step"] != done:
            break
        done += 1
    return done


def _first_step(run_dir: Place) -> int:
    if not (run_dir / TRIAL).exists():
        return 0
    origin = json.loads((run_dir / TRIAL).read_bytes())["origin"]
    return int(origin["step"]) if origin else 0


class MetricsLog:
    """Appends records to metrics.jsonl and scalars to TensorBoard; `flush` may be called from another thread.

    A figure that has been the same since the start has no chart: only figures that move are worth one.

    Args:
        run_dir: the run directory.
        step: the step that the run resumes from; records of later steps leave the file, and are in `dropped`.
        warn: is called with a line when the disk takes nothing; lines wait in memory until it does.
    """

    def __init__(self, run_dir: Place, step: int, warn: Callable[[str], None] = lambda _: None) -> None:
        self._run_dir = run_dir
        self._lock = threading.Lock()
        earlier = read_metrics(run_dir)
        self.records = [record for record in earlier if record["step"] < step]
        self.dropped = [record for record in earlier if record["step"] >= step]
        self._temporary = None if run_dir.is_local else tempfile.TemporaryDirectory()
        self._folder = Path(self._temporary.name) if self._temporary else run_dir.local_path / EVENTS
        self._events = Events(self._folder, step)
        self._constants: dict[str, tuple[float, int] | None] = {}  # first value and step; None once it has moved
        self._file = LineFile(run_dir / METRICS, self.records, warn)

    def append(self, step: StepRecord | FitRecord) -> None:
        """One step's line; its numbers go to TensorBoard as well."""
        record = step.line()
        self._file.append(record)
        with self._lock:
            for name, value in record.items():
                if isinstance(value, int | float) and name not in _OF_THE_STEP:
                    self._moving(f"train/{name}", value, record["step"])

    def scalar(self, name: str, value: float, step: int) -> None:
        """One figure for TensorBoard that is not of a step."""
        self.draw(lambda events: events.scalars({name: value}, step))

    def draw(self, what: Callable[[Events], None]) -> None:
        """Calls `what` with the run's TensorBoard events."""
        with self._lock:
            what(self._events)

    def flush(self) -> None:
        """Makes everything so far durable; called before each checkpoint is committed. Raises OSError."""
        self._file.flush()
        with self._lock:
            self._events.flush()
        if self._temporary:
            for file in self._folder.rglob("*"):
                if file.is_file():
                    name = file.relative_to(self._folder).as_posix()
                    (self._run_dir / EVENTS / name).upload_file(file)

    def close(self) -> None:
        """Flushes and lets go of everything."""
        with self._lock:
            self._events.close()
        self.flush()
        self._file.close()
        if self._temporary:
            self._temporary.cleanup()

    def _moving(self, name: str, value: float, step: int) -> None:
        """Writes a figure from the step on at which it first differs from what it began with."""
        held = self._constants.setdefault(name, (value, step))
        if held is None:
            self._events.scalars({name: value}, step)
        elif held[0] != value:
            self._constants[name] = None
            self._events.scalars({name: held[0]}, held[1])
            self._events.scalars({name: value}, step)
