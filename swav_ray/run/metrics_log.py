"""metrics.jsonl and TensorBoard events of a run directory, local or on S3.

A line a step, in the order of the committed lineage: after a restart the lines past the checkpoint are dropped, since
those steps are computed again.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swav_ray.run.fit_record import FitRecord
from swav_ray.run.layout import EVENTS, METRICS, TRIAL
from swav_ray.run.line_file import LineFile, Record, read_lines
from swav_ray.run.step_record import StepRecord
from swav_ray.storage.place import Place

_OF_THE_STEP = ("step", "steps", "epoch", "samples_seen", "time")  # TensorBoard has them as its axes

# One chart, below Custom Scalars, for what means something beside each other alone.
_TOGETHER = {"run": {"loss beside ln K": ["Multiline", ["health/loss", "health/ln_k", "health/codes_entropy"]]}}


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
        self._run_dir, self._step = run_dir, step
        self._lock = threading.Lock()
        earlier = read_metrics(run_dir)
        self.records = [record for record in earlier if record["step"] < step]
        self.dropped = [record for record in earlier if record["step"] >= step]
        self._temporary = None if run_dir.is_local else tempfile.TemporaryDirectory()
        self._events = Path(self._temporary.name) if self._temporary else run_dir.local_path / EVENTS
        self._writer: Any = None
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
        with self._lock:
            self._scalars({name: value}, step)

    def flush(self) -> None:
        """Makes everything so far durable; called before each checkpoint is committed. Raises OSError."""
        self._file.flush()
        with self._lock:
            try:
                if self._writer is not None:
                    self._writer.flush()
            except OSError:
                self._writer = None  # a picture of the run is not worth the run: the next scalar opens another file
        if self._temporary:
            for file in self._events.iterdir():
                (self._run_dir / EVENTS / file.name).upload_file(file)

    def close(self) -> None:
        """Flushes and lets go of everything."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
            self._writer = None
        self.flush()
        self._file.close()
        if self._temporary:
            self._temporary.cleanup()

    def _moving(self, name: str, value: float, step: int) -> None:
        """Writes a figure from the step on at which it first differs from what it began with."""
        held = self._constants.setdefault(name, (value, step))
        if held is None:
            self._scalars({name: value}, step)
        elif held[0] != value:
            self._constants[name] = None
            self._scalars({name: held[0]}, held[1])
            self._scalars({name: value}, step)

    def _scalars(self, values: dict[str, float], step: int) -> None:
        try:
            if self._writer is None:
                # Imported here: TensorBoard takes seconds to import, and only rank 0 writes.
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(self._events), purge_step=self._step)
                self._writer.add_custom_scalars(_TOGETHER)
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
        except OSError:
            self._writer = None
