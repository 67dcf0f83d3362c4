"""A task of Ray Data may make all of its blocks before one is taken; Ray has what that needs."""

from __future__ import annotations

import ray.data

from swav_ray.launch.ray_internals.whole_tasks import run_to_their_end
from tests.launch.ray_internals.contract import Contract

TASKS = Contract(
    mend="swav_ray/launch/ray_internals/whole_tasks.py",
    breaks="a node that is lost may stop a run for ever, since a waiting task keeps the CPU that its blocks need",
)
NAME = "_max_num_blocks_in_streaming_gen_buffer"


def test_the_context_has_a_setting_that_a_task_is_started_with() -> None:
    context = ray.data.DataContext()
    TASKS.check(getattr(context, NAME, None) == 2, f"DataContext.{NAME} is not 2 any more")
    operator = "ray.data._internal.execution.operators.task_pool_map_operator:TaskPoolMapOperator"
    TASKS.uses(f"{operator}._try_schedule_task", NAME)
    run_to_their_end(context, 32)
    assert getattr(context, NAME) == 33
