"""The part of Ray Train that decides how many workers a run has. Read in Ray 2.60.

`ScalingConfig(num_workers=(least, most))` is all that is public of it: neither the policy nor the count can be given.
"""

from __future__ import annotations

import abc
from typing import Any

import ray
from ray.train.v2._internal.execution.scaling_policy.autoscaling_coordinator_client import (
    TrainAutoscalingCoordinatorClient,
)
from ray.train.v2._internal.execution.scaling_policy.elastic import ElasticScalingPolicy

_SECONDS = 5.0  # for an answer


class ElasticPolicy(ElasticScalingPolicy):
    """Ray Train's elastic policy, whose private hooks have plain names here. It lives in the run's controller.

    Wraps `ElasticScalingPolicy` and `TrainAutoscalingCoordinatorClient`.

    Args:
        scaling: the run's `ray.train.ScalingConfig`.
        requester: the id under which it requests resources.
    """

    def __init__(self, scaling: Any, requester: str) -> None:
        super().__init__(scaling)
        self._requester = requester

    @abc.abstractmethod
    def workers_to_request(self) -> int:
        """The workers for which resources are requested; called often."""

    @abc.abstractmethod
    def most_workers(self) -> int:
        """How many workers there may be now, whatever is reserved."""

    @abc.abstractmethod
    def reserved(self) -> dict[str, dict[str, float]] | None:
        """What is reserved for the run: node id to resource to amount. None: unknown, so that nothing changes."""

    def request(self) -> None:
        """Requests resources for `workers_to_request`."""
        self._send_resource_request()

    def reserved_now(self) -> dict[str, dict[str, float]]:
        """What is reserved on the nodes that the cluster has now: Ray's own view is up to 20 s old.

        Raises:
            ray.exceptions.RayTaskError: the coordinator's inside has changed.
            ray.exceptions.RayError: it does not answer.
        """
        pending = self._autoscaling_coordinator.get_reserved_resources.remote(self._requester, recompute=True)
        found: dict[str, dict[str, float]] = ray.get(pending, timeout=_SECONDS)
        return found

    def after_controller_start(self, train_run_context: Any) -> None:  # noqa: ARG002
        """Ray's hook. Unlike Ray's own, it keeps `requester` as the id."""
        self._requester_id = self._requester
        self._coordinator_client = TrainAutoscalingCoordinatorClient(self._requester)
        self.request()

    def _get_num_workers_for_resource_request(self) -> int:
        return self.workers_to_request()

    def _get_reserved_resources(self) -> dict[str, dict[str, float]] | None:
        return self.reserved()

    def _count_possible_workers(self, reserved_resources: dict[str, dict[str, float]]) -> int:
        return min(super()._count_possible_workers(reserved_resources), self.most_workers())
