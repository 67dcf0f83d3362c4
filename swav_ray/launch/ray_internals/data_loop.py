"""How fast Ray Data's scheduling loop turns. Read in Ray 2.60.

Ray Data has a setting for callbacks of the loop, `DataContext.custom_execution_callback_classes`. The callbacks' class,
what they may read, and the loop's timeout are private.
"""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.data._internal.execution import streaming_executor_state
from ray.data._internal.execution.execution_callback import ExecutionCallback


class RateLimitedLoop(ExecutionCallback):
    """The loop turns as soon as a task has a result or ends, and at most once in `SECONDS`.

    By itself it waits until every running task has a result, or for 0.1 s, and needs three such turns to see that a
    task has ended: a core is idle meanwhile, for a third of a task's time. And while crops wait for the training
    (every run whose GPUs are its bottleneck) all tasks have ended. Then its wait returns at once, and the loop turns as
    fast as a core allows. The loop of a segment has a process to itself, so what is set here affects nothing else.

    Wraps `ExecutionCallback`, `streaming_executor_state.WAIT_FOR_TASK_COMPLETION_TIMEOUT_S`, and the running tasks of a
    `StreamingExecutor`.
    """

    SECONDS = 0.02
    WAIT = 0.1  # at most, without a result of a task: as long as the loop itself waits

    def __init__(self) -> None:
        self._turned = time.monotonic()

    def before_execution_starts(self, executor: Any) -> None:  # noqa: ARG002
        """Ray's hook."""
        streaming_executor_state.WAIT_FOR_TASK_COMPLETION_TIMEOUT_S = 0.0

    def on_execution_step(self, executor: Any) -> None:
        """Ray's hook, at the end of every turn."""
        running = [task.get_waitable() for operator in executor._topology for task in operator.get_active_tasks()]
        if running:
            ray.wait(running, num_returns=1, timeout=self.WAIT, fetch_local=False)
        time.sleep(max(0.0, self._turned + self.SECONDS - time.monotonic()))
        self._turned = time.monotonic()
