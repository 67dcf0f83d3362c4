"""Which trials hold machines, so that what a dead trial holds can be released.

Ray frees a placement group with the job, not with the actor that made it.
"""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, remove_placement_group

_POLL_SECONDS = 0.2


@ray.remote(num_cpus=0)
class Groups:
    """The placement groups that each trial of a sweep holds."""

    def __init__(self) -> None:
        self._held: dict[str, list[PlacementGroup]] = {}

    def begin(self, trial: str) -> None:
        """A trial is about to start; what an earlier start of it held is released."""
        self.release(trial)
        self._held[trial] = []

    def note(self, trial: str, group: PlacementGroup) -> None:
        """A trial holds a placement group."""
        self._held.setdefault(trial, []).append(group)

    def end(self, trial: str) -> None:
        """A trial has stopped and holds nothing."""
        self._held.pop(trial, None)

    def release(self, trial: str) -> None:
        """Removes what a trial holds, and with it the workers in there."""
        for group in self._held.pop(trial, []):
            remove_placement_group(group)

    def busy(self) -> list[str]:
        """Trials that have begun and not ended."""
        return list(self._held)


def note_own_group(groups: Any, trial: str) -> None:
    """Notes the placement group that the calling worker runs in, if it runs in one."""
    group = ray.util.get_current_placement_group()
    if group is not None:
        ray.get(groups.note.remote(trial, group))


def drain(groups: Any, seconds: float) -> None:
    """Waits until stopped trials have released what they hold; after so many seconds, releases it for them."""
    deadline = time.monotonic() + seconds
    while busy := ray.get(groups.busy.remote()):
        if time.monotonic() > deadline:
            ray.get([groups.release.remote(trial) for trial in busy])
            return
        time.sleep(_POLL_SECONDS)
