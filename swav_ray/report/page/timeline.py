"""A run by the clock: how many images a second it trained on and which fraction of each minute trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from swav_ray.report.page.charts import Mark
from swav_ray.report.page.run_record import column

_PARTS = 120  # of the time from the first event to the last step


def begins(steps: Sequence[dict[str, Any]], history: Sequence[dict[str, Any]]) -> float:
    """Unix seconds at which a run's first command or step began; 0 if nothing is known."""
    known = [entry["time"] for entry in history if "time" in entry]
    known += [steps[0]["time"] - steps[0]["seconds"]] if steps else []
    return float(min(known)) if known else 0.0


def minutes(steps: Sequence[dict[str, Any]], began: float) -> np.ndarray:
    """(steps,) minutes from `began` to each step's end."""
    return (column(steps, "time") - began) / 60


def goodput_over_time(steps: Sequence[dict[str, Any]], began: float) -> tuple[np.ndarray, np.ndarray]:
    """Middles of equal stretches of the clock, in minutes, and the percentage of each that trained. (P,) each.

    A step trains for the part of its seconds in which it does not wait for data. Whatever is between steps (a start, a
    restart, a checkpoint, a measurement) does not.
    """
    ends = column(steps, "time") - began
    seconds = column(steps, "seconds")
    trained = seconds * (1 - column(steps, "data_wait"))
    total = float(ends[-1]) if len(ends) else 0.0
    if total <= 0:
        return np.empty(0), np.empty(0)
    edges = np.linspace(0, total, _PARTS + 1)
    # A step waits for its batch first and trains up to its end.
    done = np.interp(edges, *_trained_so_far(ends, trained))
    return (edges[:-1] + edges[1:]) / 2 / 60, 100 * np.clip(np.diff(done) / np.diff(edges), 0, 1)


def _trained_so_far(ends: np.ndarray, trained: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the piecewise linear seconds of training against the clock."""
    order = np.argsort(ends, kind="stable")
    ends, trained = ends[order], trained[order]
    starts = np.maximum(ends - trained, np.concatenate([[0.0], ends[:-1]]))
    so_far = np.cumsum(ends - starts)
    clock = np.stack([starts, ends], axis=1).ravel()
    return clock, np.stack([so_far - (ends - starts), so_far], axis=1).ravel()


def marks(history: Sequence[dict[str, Any]], *, began: float | None = None) -> list[Mark]:
    """Restarts, resizes, stops and remedies, against steps, or against minutes from `began`."""
    found = []
    workers = 0
    for entry in history:
        x = float(entry.get("step", 0)) if began is None else (entry["time"] - began) / 60
        match entry["event"]:
            case "start":
                if workers and entry["workers"] != workers:
                    found.append(Mark(x, f"resized from {workers} to {entry['workers']} workers", "resize"))
                elif workers:
                    lost = entry["lost_steps"]
                    again = f", {lost} step{'s' if lost != 1 else ''} computed again" if lost else ""
                    found.append(Mark(x, f"restarted at step {entry['step']:,}{again}", "restart"))
                workers = entry["workers"]
            case "stop":
                found.append(Mark(x, f"stopped before step {entry['step']:,}", "stop"))
            case "collapsed":
                found.append(Mark(x, f"ended for its health before step {entry['step']:,}: {entry['word']}", "stop"))
            case "remedy":
                changes = ", ".join(f"{name} = {value}" for name, value in entry["changes"].items())
                text = f"remedy for {entry['word']}: back to step {entry['back_to']:,} with {changes}"
                found.append(Mark(x, text, "remedy"))
    return found
