"""What happens to the workers of a run, as Ray Train's controller sees it. Read in Ray 2.60.

`ray.train.UserCallback` is public and learns of reports and errors only, not of workers that start, resize or wait.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.controller.state import (
    InitializingState,
    ReschedulingState,
    ResizingState,
    RestartingState,
    SchedulingState,
)

_STATES_BEFORE_WORKERS = (InitializingState, SchedulingState, ReschedulingState, RestartingState)
_SECONDS = 5.0  # for an answer


class WorkerGroupEvents(WorkerGroupCallback, ControllerCallback):
    """Plain hooks for a subclass, called in the controller's process, which does nothing else meanwhile.

    Wraps `WorkerGroupCallback`, `ControllerCallback`, the controller's states, and `WorkerGroupState`: the placement
    group of the workers, their actors, and `shutdown`.
    """

    def __init__(self) -> None:
        self._group: Any = None

    def before_start(self) -> None:
        """Workers are about to start."""

    def after_start(self, placement_group: Any) -> None:
        """Workers have started, on this placement group. Their process group may yet fail to form."""

    def before_end(self) -> None:
        """The controller is about to end."""

    def state_changed(self, *, waiting: bool, resizing: bool) -> None:
        """The controller has another state.

        Args:
            waiting: there are no workers, and some are still to start.
            resizing: the workers are about to be replaced by another number of them.
        """

    def workers_alive(self) -> bool:
        """Whether none of the workers has died."""
        actors = [worker.actor for worker in self._group.workers] if self._group is not None else []
        try:
            ray.get([actor.get_metadata.remote() for actor in actors], timeout=_SECONDS)
        except ray.exceptions.GetTimeoutError:
            return True
        except ray.exceptions.RayActorError:
            return False
        return True

    def release_workers(self) -> None:
        """Ends workers whose start has failed, and frees what they hold. Those that Ray Train has ended are gone."""
        group, self._group = self._group, None
        if group is not None:
            group.shutdown()

    # Ray's hooks.

    def before_worker_group_start(self, worker_group_context: Any) -> None:  # noqa: ARG002
        self.before_start()

    def after_worker_group_start(self, worker_group: Any) -> None:
        self._group = worker_group.get_worker_group_state()
        self.after_start(self._group.placement_group_handle.placement_group)

    def after_worker_group_shutdown(self, worker_group_context: Any) -> None:  # noqa: ARG002
        self._group = None

    def after_worker_group_abort(self, worker_group_context: Any) -> None:  # noqa: ARG002
        self._group = None

    async def before_controller_shutdown(self) -> None:
        self.before_end()

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:  # noqa: ARG002
        waiting = self._group is None and isinstance(current_state, _STATES_BEFORE_WORKERS)
        self.state_changed(waiting=waiting, resizing=isinstance(current_state, ResizingState))
