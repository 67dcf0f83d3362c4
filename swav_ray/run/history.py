"""history.jsonl: every launch of a run, every start and stop of its workers, every remedy, and why it ended early.

The last claim names the process that may write to the run directory: one that outlived its run finds another name
there before it writes, and leaves the directory alone.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from swav_ray.run.layout import HISTORY
from swav_ray.storage.place import Place, persistently

ENDS = ("stop", "collapsed", "failed")


class Superseded(RuntimeError):
    """Another start of the same run writes to its directory now."""


def read_history(run_dir: Place) -> list[dict[str, Any]]:
    """The entries, oldest first; none if there is no file."""
    file = run_dir / HISTORY
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_bytes().decode().splitlines()]


class History:
    """One start of a run's workers: claims the run directory, before anything of it is read.

    Args:
        run_dir: the run directory.
        warn: is called with a line when storage takes nothing; a write waits until it does.
    """

    def __init__(self, run_dir: Place, warn: Callable[[str], None] = lambda _: None) -> None:
        self._run_dir, self._warn = run_dir, warn
        self.id = uuid.uuid4().hex
        self._append({"event": "claim", "id": self.id})

    def start(self, step: int, workers: int, lost: Sequence[dict[str, Any]]) -> None:
        """Notes the step that this start resumes from, its workers, and the records of steps to be computed again."""
        self.check()
        seconds = sum(record.get("seconds", 0.0) for record in lost)
        entry = {"step": step, "workers": workers, "lost_steps": len(lost), "lost_seconds": round(seconds, 3)}
        self._append({"event": "start"} | entry)

    def stop(self, step: int) -> None:
        """Notes that a person stopped the run here: the time until the next start is nobody's loss."""
        self.check()
        self._append({"event": "stop", "step": step})

    def collapsed(self, step: int, word: str, why: str) -> None:
        """Notes that the run ended before `step` for its health, which has this word."""
        self.check()
        self._append({"event": "collapsed", "step": step, "word": word, "why": why})

    def remedy(self, entry: dict[str, Any]) -> None:
        """Notes what was changed because the run had collapsed; see `health.remedies.Remedy`."""
        self.check()
        self._append({"event": "remedy"} | entry)

    def check(self) -> None:
        """Raises Superseded if another start has come after this one."""
        last = [entry["id"] for entry in read_history(self._run_dir) if entry["event"] == "claim"][-1:]
        if last != [self.id]:
            raise Superseded(f"{self._run_dir}: another start of this run writes here now")

    def _append(self, entry: dict[str, Any]) -> None:
        _append(self._run_dir, {"time": round(time.time(), 3), **entry}, self._warn)


def note_launch(run_dir: Place, began: float, warn: Callable[[str], None]) -> None:
    """Notes that a command began at `began` (Unix seconds) to start or resume the run; before it has workers."""
    _append(run_dir, {"time": round(began, 3), "event": "launch"}, warn)


def note_stop(run_dir: Place, step: int, warn: Callable[[str], None]) -> None:
    """Notes that a person stopped the run, if no worker could: it resumes from `step`."""
    if ending(read_history(run_dir)).get("event") != "stop":
        _append(run_dir, {"time": round(time.time(), 3), "event": "stop", "step": step}, warn)


def note_failure(run_dir: Place, why: str, warn: Callable[[str], None]) -> None:
    """Notes why the run failed, unless its workers have noted that it ended for its health."""
    if ending(read_history(run_dir)).get("event") != "collapsed":
        _append(run_dir, {"time": round(time.time(), 3), "event": "failed", "why": why}, warn)


def ending(history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The entry that says how the last start of a run ended; empty if none does."""
    last = [entry for entry in history if entry["event"] in ("claim", "start", *ENDS)][-1:]
    return last[0] if last and last[0]["event"] in ENDS else {}


def _append(run_dir: Place, entry: dict[str, Any], warn: Callable[[str], None]) -> None:
    text = "".join(json.dumps(item) + "\n" for item in [*read_history(run_dir), entry])
    persistently(lambda: (run_dir / HISTORY).write_bytes(text.encode()), warn)
