"""Ray still has what coordinator.py wraps."""

from __future__ import annotations

import inspect

from tests.launch.ray_internals.contract import Contract

COORDINATOR = Contract(
    mend="swav_ray/launch/ray_internals/coordinator.py",
    breaks="after a failure, CPUs stay reserved for the dead data set for three minutes",
)
ROOM = "ray.data._internal.cluster_autoscaler"
ACTOR = f"{ROOM}.default_autoscaling_coordinator:_AutoscalingCoordinatorActor"


def test_there_is_one_coordinator_for_all() -> None:
    COORDINATOR.parameters(f"{ROOM}.default_autoscaling_coordinator:get_or_create_autoscaling_coordinator")


def test_its_books_are_open_and_a_request_can_be_cancelled() -> None:
    COORDINATOR.uses(f"{ACTOR}.cancel_request", "_ongoing_reqs")
    COORDINATOR.parameters(f"{ACTOR}.cancel_request", "requester_id")


def test_a_data_set_requests_resources_under_its_name() -> None:
    source = inspect.getsource(COORDINATOR.name(f"{ROOM}.default_cluster_autoscaler_v2:DefaultClusterAutoscalerV2"))
    COORDINATOR.check('f"data-{execution_id}"' in source, "data sets do not request resources as data-NAME any more")
