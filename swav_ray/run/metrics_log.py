"""metrics.jsonl and TensorBoard events of a run directory, local or on S3.

A line a step, in the order of the committed lineage: after a restart the lines past the checkpoint are dropped, since
those steps are computed again. S3 has no appending, so lines wait in memory and are written with each checkpoint.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
import threading
from collections.abc import Callable
from io import BufferedWriter
from pathlib import Path
from typing import Any

from swav_ray.run.fit_record import FitRecord
from swav_ray.run.layout import EVENTS, METRICS, TRIAL
from swav_ray.run.step_record import StepRecord
from swav_ray.storage.place import Place, persistently

Record = dict[str, Any]


def read_metrics(run_dir: Place) -> list[Record]:
    """The lines of a run's metrics.jsonl; a last line cut short by a crash is left out."""
    file = run_dir / METRICS
    if not file.exists():
        return []
    lines = file.read_bytes().decode().split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


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

    Args:
        run_dir: the run directory.
        step: the step that the run resumes from; records of later steps leave the file, and are in `dropped`.
        warn: is called with a line when the disk takes nothing; lines wait in memory until it does.
    """

    def __init__(self, run_dir: Place, step: int, warn: Callable[[str], None] = lambda _: None) -> None:
        self._run_dir, self._step, self._warn = run_dir, step, warn
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        earlier = read_metrics(run_dir)
        self.records = [record for record in earlier if record["step"] < step]
        self.dropped = [record for record in earlier if record["step"] >= step]
        self._temporary = None if run_dir.is_local else tempfile.TemporaryDirectory()
        self._events = Path(self._temporary.name) if self._temporary else run_dir.local_path / EVENTS
        self._writer: Any = None
        self._lines = [_line(record) for record in self.records]
        text = "".join(self._lines)
        persistently(lambda: (run_dir / METRICS).write_bytes(text.encode()), warn)
        self._file: BufferedWriter | None = None
        if run_dir.is_local:
            # Held open: what a worker that outlived its run would still append goes to the file that it knew.
            self._file = (run_dir / METRICS).local_path.open("ab")
            self._good = self._file.tell()
            self._lines = []

    def append(self, step: StepRecord | FitRecord) -> None:
        """One step's line; its numbers go to TensorBoard as well."""
        record = step.line()
        with self._lock:
            self._lines.append(_line(record))
            self._scalars(
                {
                    f"train/{name}": value
                    for name, value in record.items()
                    if isinstance(value, int | float) and name != "step"
                },
                record["step"],
            )
            if self._file is not None:
                try:
                    self._write_lines()
                except OSError as error:
                    if len(self._lines) == 1:
                        self._warn(f"{self._run_dir / METRICS}: {error.strerror}; its lines wait in memory")

    def scalar(self, name: str, value: float, step: int) -> None:
        """One figure for TensorBoard that is not of a step."""
        with self._lock:
            self._scalars({name: value}, step)

    def flush(self) -> None:
        """Makes everything so far durable; called before each checkpoint is committed. Raises OSError.

        `append` waits for no disk and no upload meanwhile: unavailable storage must not hold up a step.
        """
        with self._flushing:
            with self._lock:
                if self._file is not None:
                    self._write_lines()
                text = "".join(self._lines)
                try:
                    if self._writer is not None:
                        self._writer.flush()
                except OSError:
                    self._writer = None  # a picture of the run is not worth the run: the next scalar opens another file
            if self._file is not None:
                os.fsync(self._file.fileno())
                return
            (self._run_dir / METRICS).write_bytes(text.encode())
            for file in self._events.iterdir():
                (self._run_dir / EVENTS / file.name).upload_file(file)

    def close(self) -> None:
        """Flushes and lets go of everything."""
        if self._writer is not None:
            self._writer.close()
        self.flush()
        if self._file is not None:
            self._file.close()
        if self._temporary:
            self._temporary.cleanup()

    def _scalars(self, values: dict[str, float], step: int) -> None:
        try:
            if self._writer is None:
                # Imported here: TensorBoard takes seconds to import, and only rank 0 writes.
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(self._events), purge_step=self._step)
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
        except OSError:
            self._writer = None

    def _write_lines(self) -> None:
        """Appends what waits; a line that a full disk cut short is taken back first."""
        assert self._file is not None
        if not self._lines:
            return
        descriptor = self._file.fileno()
        os.ftruncate(descriptor, self._good)
        data = "".join(self._lines).encode()
        written = os.write(descriptor, data)
        if written < len(data):
            os.ftruncate(descriptor, self._good)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._good += written
        self._lines = []


def _line(record: Record) -> str:
    return json.dumps(record) + "\n"
