"""measurements.jsonl of a run directory: one line for each time that the backbone was measured, local or on S3.

A few hundred short lines at most, so each change writes the file anew, whole or not at all.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from typing import Any

from swav_ray.run.layout import MEASUREMENTS
from swav_ray.storage.place import Place

HELD_OUT_UNREADABLE = "held_out_unreadable"
Figures = dict[str, float]
"""What a line has of a model: `knn_top1` in percent and its standard error `knn_error` in points, those of
`evaluate.label_free.measure`, and how many held-out images kNN left out since they cannot be read, if any."""


def read(run_dir: Place) -> list[dict[str, Any]]:
    """The lines, in the order of steps; none if nothing was measured. Raises ValueError: the file is damaged."""
    try:
        return [json.loads(line) for line in (run_dir / MEASUREMENTS).read_bytes().splitlines() if line]
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise ValueError(f"{run_dir / MEASUREMENTS}: is damaged: {error}") from None


def append(run_dir: Place, row: dict[str, Any]) -> None:
    """Adds the figures of a step; the step's earlier line, if any, and those past it go."""
    _write(run_dir, [*(kept for kept in read(run_dir) if kept["step"] < row["step"]), row])


class Journal:
    """Rows on their way to the file: they wait in memory until `flush`, so that measuring waits for no storage.

    Args:
        run_dir: the run directory.
    """

    def __init__(self, run_dir: Place) -> None:
        self._run_dir = run_dir
        self._rows: deque[dict[str, Any]] = deque()
        self._flushing = threading.Lock()

    def add(self, row: dict[str, Any]) -> None:
        """Takes the figures of a step."""
        self._rows.append(row)

    def flush(self) -> None:
        """Writes what waits; may be called from another thread. Raises OSError, and keeps what is not written."""
        with self._flushing:
            while self._rows:
                append(self._run_dir, self._rows[0])
                self._rows.popleft()


def keep_until(run_dir: Place, step: int) -> list[dict[str, Any]]:
    """Drops what was measured past `step`, from which the run resumes; what is left."""
    rows = read(run_dir)
    kept = [row for row in rows if row["step"] <= step]
    if len(kept) < len(rows):
        _write(run_dir, kept)
    return kept


def _write(run_dir: Place, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (run_dir / MEASUREMENTS).write_bytes(text.encode())
