"""Keeps Ray Train running until a run has ended: its controller may die, and another takes its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
import ray.util
from ray.train import ControllerError

from swav_ray.one_line import last_line, one_line
from swav_ray.run.layout import RAY, SUMMARY
from swav_ray.storage.place import Place, persistently


def supervise(make_trainer: Callable[[], Any], monitor: Any, run_dir: Place, warn: Callable[[str], None]) -> None:
    """Fits trainers until one has ended in good order, or the run is given up. Raises what else a trainer fails with.

    Ray Train starts workers that die again. What starts them may die too, or meet an error that it does not try again,
    for example if a node is lost while workers start.

    Args:
        make_trainer: makes a trainer of the run.
        monitor: the run's Monitor.
        run_dir: the run directory. Ray Train's snapshot in it is deleted once the run is finished.
        warn: is called with a line about each death and about unavailable storage.
    """
    while True:
        try:
            make_trainer().fit()
            break
        except (ray.exceptions.RayActorError, ControllerError) as error:
            if ray.get(monitor.controller_died.remote()):
                return
            # A controller writes to the run's storage before anything else, and dies if it cannot.
            persistently(run_dir.exists, warn)
            warn(f"Ray Train's controller died, starting another: {last_line(error)[:200]}")
            # Ray's own cleaner needs the dashboard to notice; without it nobody gets these resources again.
            if (occupied := ray.get(monitor.placement_group.remote())) is not None:
                ray.util.remove_placement_group(occupied)
    try:
        if (run_dir / SUMMARY).exists():
            (run_dir / RAY).delete_tree()
    except OSError as error:  # the run is finished all the same
        warn(f"Ray Train's snapshot could not be deleted: {one_line(error)}")
