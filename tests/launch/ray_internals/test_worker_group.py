"""Ray still has what worker_group.py wraps."""

from __future__ import annotations

import inspect

import pytest

from tests.launch.ray_internals.contract import Contract

GROUP = Contract(
    mend="swav_ray/launch/ray_internals/worker_group.py",
    breaks="workers are replaced without saving first, or a failed start keeps the cluster's resources",
)
ROOM = "ray.train.v2._internal.execution"


@pytest.mark.parametrize(
    ("hook", "argument"),
    [
        ("WorkerGroupCallback.before_worker_group_start", "worker_group_context"),
        ("WorkerGroupCallback.after_worker_group_start", "worker_group"),
        ("WorkerGroupCallback.after_worker_group_shutdown", "worker_group_context"),
        ("WorkerGroupCallback.after_worker_group_abort", "worker_group_context"),
    ],
)
def test_workers_that_start_and_end_are_announced(hook: str, argument: str) -> None:
    GROUP.parameters(f"{ROOM}.callback:{hook}", "self", argument)


def test_the_controllers_states_and_end_are_announced() -> None:
    callback = f"{ROOM}.callback:ControllerCallback"
    GROUP.parameters(f"{callback}.after_controller_state_update", "self", "previous_state", "current_state")
    end = f"{callback}.before_controller_shutdown"
    GROUP.check(inspect.iscoroutinefunction(GROUP.name(end)), f"{end} is no coroutine any more")


def test_the_states_before_workers_are_the_ones_we_know() -> None:
    state = GROUP.name(f"{ROOM}.controller.state:TrainControllerState")
    # INITIALIZING, SCHEDULING, RESCHEDULING and RESTARTING wait for workers; RESIZING is about to replace them.
    waiting = {"InitializingState", "SchedulingState", "ReschedulingState", "RestartingState"}
    others = {"RunningState", "PreemptingState", "ShuttingDownState", "ErroredState", "FinishedState", "AbortedState"}
    found = {kind.__name__ for kind in state.__subclasses__()}
    known = waiting | others | {"ResizingState"}
    GROUP.check(found == known, f"the controller's states differ in {', '.join(sorted(found ^ known))}")


def test_a_group_that_has_started_names_its_workers_and_its_placement_group() -> None:
    GROUP.name(f"{ROOM}.worker_group.worker_group:WorkerGroup.get_worker_group_state")
    state = f"{ROOM}.worker_group.state:WorkerGroupState"
    GROUP.fields(state, "workers", "placement_group_handle")
    GROUP.name(f"{ROOM}.worker_group.placement_group_handle:PlacementGroupHandle.placement_group")
    GROUP.fields(f"{ROOM}.worker_group.worker:Worker", "actor")
    GROUP.parameters(f"{ROOM}.worker_group.worker:RayTrainWorker.get_metadata", "self")


def test_ending_a_group_frees_its_placement_group() -> None:
    shutdown = f"{ROOM}.worker_group.state:WorkerGroupState.shutdown"
    GROUP.parameters(shutdown, "self")
    GROUP.uses(shutdown, "placement_group_handle", "workers")
