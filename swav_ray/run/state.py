"""Whether a run is done, running, stopped or broken off, by the files of its directory."""

from __future__ import annotations

from swav_ray.run.history import read_history
from swav_ray.run.layout import LEASE, SUMMARY
from swav_ray.run.lease import ended_here
from swav_ray.storage.place import Place

FINISHED = "finished"
RUNNING = "running"
STOPPED = "stopped"  # by a person, with a checkpoint
BROKEN_OFF = "broken off"  # its command ended without a word; the same command resumes it
STATES = (FINISHED, RUNNING, STOPPED, BROKEN_OFF)


def state_of(run_dir: Place) -> str:
    """One of STATES. A command that was killed on another machine looks as if it ran."""
    if (run_dir / SUMMARY).exists():
        return FINISHED
    if (run_dir / LEASE).exists() and not ended_here(run_dir):
        return RUNNING
    events = [entry["event"] for entry in read_history(run_dir) if entry["event"] in ("claim", "start", "stop")]
    return STOPPED if events[-1:] == ["stop"] else BROKEN_OFF
