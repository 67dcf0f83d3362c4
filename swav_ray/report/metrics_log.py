"""metrics.jsonl and TensorBoard events of a run directory, local or on S3.

A line a step, in the order of the committed lineage: after a restart the lines past the checkpoint are dropped, since
those steps are computed again. S3 has no appending, so lines are kept here and written out with each checkpoint.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from swav_ray.data.storage import Place

METRICS = "metrics.jsonl"


def read_metrics(run_dir: Place) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; a last line cut short by a crash is left out."""
    file = run_dir / METRICS
    if not file.exists():
        return []
    lines = file.read_bytes().decode().split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


class MetricsLog:
    """Appends records to metrics.jsonl and scalars to TensorBoard.

    Args:
        run_dir: the run directory.
        step: the step that the run goes on from; records of later steps are dropped.
    """

    def __init__(self, run_dir: Place, step: int) -> None:
        # Imported here: TensorBoard takes seconds to import, and only rank 0 writes.
        from torch.utils.tensorboard import SummaryWriter

        self._run_dir = run_dir
        self._records = [record for record in read_metrics(run_dir) if record["step"] < step]
        self._temporary = None if run_dir.is_local else tempfile.TemporaryDirectory()
        self._events = Path(self._temporary.name) if self._temporary else run_dir.local_path / "events"
        self._writer = SummaryWriter(str(self._events), purge_step=step)
        self._write_all()

    def append(self, record: dict[str, Any]) -> None:
        """One step's record; `step` is required, numbers go to TensorBoard as well."""
        for name, value in record.items():
            if isinstance(value, int | float) and name != "step":
                self._writer.add_scalar(f"train/{name}", value, record["step"])
        if self._run_dir.is_local:
            with open((self._run_dir / METRICS).local_path, "a") as file:
                file.write(json.dumps(record) + "\n")
        else:
            self._records.append(record)

    def scalar(self, name: str, value: float, step: int) -> None:
        """One figure for TensorBoard that is not of a step."""
        self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Makes everything so far durable; called with each checkpoint."""
        self._writer.flush()
        if not self._run_dir.is_local:
            self._write_all()
            for file in self._events.iterdir():
                (self._run_dir / "events" / file.name).upload_file(file)

    def close(self) -> None:
        self._writer.close()
        self.flush()
        if self._temporary:
            self._temporary.cleanup()

    def _write_all(self) -> None:
        text = "".join(json.dumps(record) + "\n" for record in self._records)
        (self._run_dir / METRICS).write_bytes(text.encode())
        if self._run_dir.is_local:
            self._records = []
