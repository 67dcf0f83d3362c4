"""The books in which Ray divides a cluster's resources among trainings and data sets. Read in Ray 2.60.

Ray Train and Ray Data each request resources of one detached actor, Ray's autoscaling coordinator. Neither it nor what
it has reserved is public.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import get_or_create_autoscaling_coordinator

_SECONDS = 10.0  # for an answer


def data_requester(name: str) -> str:
    """How the ids begin under which data sets of this name request resources.

    Wraps the prefix "data-" in `ray.data._internal.cluster_autoscaler`.
    """
    return f"data-{name}"


def requesters(prefix: str) -> list[str]:
    """Ids of those that hold or request resources now, if they begin with `prefix`.

    Wraps `_AutoscalingCoordinatorActor._ongoing_reqs`.

    Raises:
        ray.exceptions.RayTaskError: the coordinator has no such books any more.
        ray.exceptions.RayError: it does not answer.
    """

    def found(books: Any) -> list[str]:
        return [requester for requester in books._ongoing_reqs if requester.startswith(prefix)]

    answer: list[str] = ray.get(get_or_create_autoscaling_coordinator().__ray_call__.remote(found), timeout=_SECONDS)
    return answer


def release(requester: str) -> None:
    """Gives back what a requester holds; it may be dead.

    Wraps `_AutoscalingCoordinatorActor.cancel_request`: the public way is to wait until the request expires, for up to
    three minutes.

    Raises:
        ray.exceptions.RayError: the coordinator does not answer.
    """
    ray.get(get_or_create_autoscaling_coordinator().cancel_request.remote(requester), timeout=_SECONDS)
