"""Ray Data's scheduling loop turns at a task's result and no faster than it should; Ray has what that needs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from swav_ray.launch.ray_internals import data_loop
from swav_ray.launch.ray_internals.data_loop import RateLimitedLoop
from tests.launch.ray_internals.contract import Contract

LOOP = Contract(
    mend="swav_ray/launch/ray_internals/data_loop.py",
    breaks="Ray Data sees late that a crop task has ended, or its loop takes a core while crops wait for training",
)
ROOM = "ray.data._internal.execution"


def test_the_loop_calls_us_before_it_starts_and_after_every_turn() -> None:
    for hook in ("before_execution_starts", "on_execution_step"):
        LOOP.parameters(f"{ROOM}.execution_callback:ExecutionCallback.{hook}", "self", "executor")
    LOOP.uses(f"{ROOM}.streaming_executor:StreamingExecutor.execute", "before_execution_starts")
    LOOP.uses(f"{ROOM}.streaming_executor:StreamingExecutor.run", "on_execution_step", "_topology")


def test_the_running_tasks_can_be_waited_for() -> None:
    LOOP.parameters(f"{ROOM}.interfaces.physical_operator:PhysicalOperator.get_active_tasks", "self")
    LOOP.parameters(f"{ROOM}.interfaces.physical_operator:OpTask.get_waitable", "self")


def test_the_loops_own_wait_is_a_constant_that_it_reads_every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "WAIT_FOR_TASK_COMPLETION_TIMEOUT_S"
    state = LOOP.name(f"{ROOM}:streaming_executor_state")
    LOOP.uses(f"{ROOM}.streaming_executor_state:process_completed_tasks", name)
    monkeypatch.setattr(state, name, 0.1)
    RateLimitedLoop().before_execution_starts(None)
    assert getattr(state, name) == 0.0


def test_the_loop_turns_at_a_tasks_result_and_rests_if_that_came_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, slept, waited_for = [100.0], [], []
    results = [0.005, 0.0, 0.05]  # seconds until a task has one

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        clock[0] += seconds

    def wait(tasks: list[str], *, num_returns: int, timeout: float, fetch_local: bool) -> None:
        assert (num_returns, timeout, fetch_local) == (1, RateLimitedLoop.WAIT, False)
        waited_for.append(tasks)
        clock[0] += results.pop(0)

    def running(*names: str) -> SimpleNamespace:
        return SimpleNamespace(
            get_active_tasks=lambda: [SimpleNamespace(get_waitable=lambda name=name: name) for name in names]
        )

    monkeypatch.setattr(data_loop.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(data_loop.time, "sleep", sleep)
    monkeypatch.setattr(data_loop.ray, "wait", wait)
    loop = RateLimitedLoop()
    for _ in range(3):
        loop.on_execution_step(SimpleNamespace(_topology=[running(), running("first", "second")]))
    loop.on_execution_step(SimpleNamespace(_topology=[running()]))
    assert waited_for == [["first", "second"]] * 3
    assert slept == [0.015, 0.02, 0.0, 0.02]
