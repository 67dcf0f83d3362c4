"""Whether a run is done, running, stopped, failed or broken off, by the files of its directory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swav_ray.run.history import ending, read_history
from swav_ray.run.layout import LEASE, SUMMARY
from swav_ray.run.lease import ended_here
from swav_ray.storage.place import Place

FINISHED = "finished"
RUNNING = "running"
STOPPED = "stopped"  # by a person, with a checkpoint
UNHEALTHY = "stopped by health"  # as `health.on_collapse` is set, or no remedy was left
FAILED = "failed"  # its command said why
BROKEN_OFF = "broken off"  # its command ended without a word; the same command resumes it
STATES = (FINISHED, RUNNING, STOPPED, UNHEALTHY, FAILED, BROKEN_OFF)
_BY_EVENT = {"stop": STOPPED, "collapsed": UNHEALTHY, "failed": FAILED}


def state_of(run_dir: Place) -> str:
    """One of STATES. A command that was killed on another machine looks as if it ran."""
    if (run_dir / SUMMARY).exists():
        return FINISHED
    if (run_dir / LEASE).exists() and not ended_here(run_dir):
        return RUNNING
    return _BY_EVENT.get(ending(read_history(run_dir)).get("event", ""), BROKEN_OFF)


def why_ended(history: Sequence[dict[str, Any]]) -> str:
    """Why a run failed or ended for its health, in a line; '' if it did neither."""
    end = ending(history)
    return ": ".join(str(end[name]) for name in ("word", "why") if name in end)
