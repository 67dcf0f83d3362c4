"""Measurements beside training: one task at a time, each on a checkpoint, in the order of steps.

Only rank 0 has them. They end with its process. What was not measured then is known from the run directory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from swav_ray.run.measurements import Figures

_TRIES = 3  # of one measurement
_MOST = 2  # that wait or run; one more means that measuring is slower than training


class TaskFailed(RuntimeError):
    """A task has ended without figures; another may succeed. The message is one line."""


class Task(Protocol):
    """A measurement under way somewhere else."""

    def poll(self) -> Figures | None:
        """The figures once they are there, without waiting. Raises TaskFailed."""

    def cancel(self) -> None:
        """Ends it."""


Start = Callable[[int], Task]
"""Starts to measure the checkpoint before a step."""


class Beside:
    """The steps that wait for their measurement, and the task of the first of them.

    Args:
        start: starts a task.
        written: whether the checkpoint before a step is there; None while it is to come, False if it never will be.
        give_up: is called with a step that will not be measured, and why.
    """

    def __init__(
        self, start: Start, written: Callable[[int], bool | None], give_up: Callable[[int, str], None]
    ) -> None:
        self._start, self._written, self._give_up = start, written, give_up
        self._steps: deque[int] = deque()
        self._task: Task | None = None
        self._failures = 0

    def add(self, step: int) -> None:
        """Takes a step to be measured once its checkpoint is there."""
        self._steps.append(step)

    @property
    def full(self) -> bool:
        """Whether so many steps wait that no other one should."""
        return len(self._steps) >= _MOST

    def poll(self) -> tuple[int, Figures] | None:
        """Starts what can be started; a step and its figures if they have come. Waits for nothing."""
        if not self._steps:
            return None
        step = self._steps[0]
        try:
            figures = self._figures(step)
        except TaskFailed as error:
            self._task = None
            self._failures += 1
            if self._failures >= _TRIES:
                self._next()
                self._give_up(step, f"its task failed {_TRIES} times, last with: {error}")
            return None
        if figures is None:
            return None
        self._next()
        return step, figures

    def cancel(self) -> list[int]:
        """Ends the task; the steps that are not measured, which others may measure."""
        if self._task is not None:
            self._task.cancel()
        left = list(self._steps)
        self._steps.clear()
        self._task = None
        return left

    def _figures(self, step: int) -> Figures | None:
        if self._task is None:
            there = self._written(step)
            if there is False:
                self._next()
                self._give_up(step, "storage was too slow, and a newer checkpoint took the place of its own")
            if not there:
                return None
            self._task = self._start(step)
        return self._task.poll()

    def _next(self) -> None:
        self._steps.popleft()
        self._task, self._failures = None, 0
