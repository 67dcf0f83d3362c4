"""history.jsonl: every start and stop of a run's workers; and what the time of a run went into.

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

    def check(self) -> None:
        """Raises Superseded if another start has come after this one."""
        last = [entry["id"] for entry in read_history(self._run_dir) if entry["event"] == "claim"][-1:]
        if last != [self.id]:
            raise Superseded(f"{self._run_dir}: another start of this run writes here now")

    def _append(self, entry: dict[str, Any]) -> None:
        entries = [*read_history(self._run_dir), {"time": round(time.time(), 3), **entry}]
        text = "".join(json.dumps(item) + "\n" for item in entries)
        persistently(lambda: (self._run_dir / HISTORY).write_bytes(text.encode()), self._warn)


def goodput(records: Sequence[dict[str, Any]], history: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Seconds of a run by what they went into, and `goodput`, the fraction of them that trained.

    Args:
        records: metrics.jsonl, each with `time` (Unix seconds at its end), `seconds`, `data_wait` (fraction),
            `checkpoint_seconds` and `evaluate_seconds` (since the record before).
        history: history.jsonl.

    Returns:
        training, data_wait, checkpointing, evaluating, starting (until the first step), restarting (from the last
        committed step before a failure to the first one after it, less what is under recomputing), recomputing, and
        goodput. Not in it: what comes before the first start of workers (Ray's, the listing), and the last checkpoint
        and measurement. Steps lost together with their lines (on S3: since the last checkpoint) count under restarting.
    """
    seconds = dict.fromkeys(
        ("training", "data_wait", "checkpointing", "evaluating", "starting", "restarting", "recomputing"), 0.0
    )
    by_step = {record["step"]: record for record in records}
    for record in records:
        seconds["training"] += record["seconds"] * (1 - record["data_wait"])
        seconds["data_wait"] += record["seconds"] * record["data_wait"]
        seconds["checkpointing"] += record["checkpoint_seconds"]
        seconds["evaluating"] += record["evaluate_seconds"]
    history = [entry for entry in history if entry["event"] != "claim"]
    chain: list[dict[str, Any]] = []  # starts from the same step, of which the last came to do it
    for entry, following in zip(history, [*history[1:], None], strict=True):
        if entry["event"] == "stop":
            continue
        chain.append(entry)
        seconds["recomputing"] += entry["lost_seconds"]
        if following is not None and following["event"] == "start" and following["step"] == entry["step"]:
            continue
        first, before = by_step.get(entry["step"]), by_step.get(entry["step"] - 1)
        if first is not None:
            begins = first["time"] - first["seconds"]
            at = history.index(chain[0])
            if before is None or at == 0 or history[at - 1]["event"] == "stop":
                seconds["starting"] += max(0.0, begins - chain[0]["time"])
            else:
                lost = sum(start["lost_seconds"] for start in chain)
                seconds["restarting"] += max(0.0, begins - before["time"] - lost)
        chain = []
    total = sum(seconds.values())
    rounded = {name: round(value, 3) for name, value in seconds.items()}
    return rounded | {"goodput": round(seconds["training"] / total, 4) if total else 0.0}
