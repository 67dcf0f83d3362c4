"""How many workers, and when: Ray Train's elastic training, with the three things that a run of days needs of it.

Ray 2.60 decides from a view of the cluster that is up to 20 s old and counts nodes that are being drained, so that it
restarts at the old size and waits for room that will not come (64 s); and it kills the workers the moment it decides
to resize, with whatever they have done since their last checkpoint. What is overridden here is internal to Ray Train,
which has no public hook for it; tests/launch/test_elastic.py notices where a later Ray moves it.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any, cast

import ray
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import ResizingState
from ray.train.v2._internal.execution.scaling_policy.elastic import ElasticScalingPolicy
from ray.train.v2.api.config import ScalingConfig
from ray.train.v2.torch.torch_trainer import TorchTrainer

_PARK_SECONDS = 120.0  # that workers have to save before they are replaced
_CPUS_FOR_CROPS = 1.0  # training workers never take the last CPU: without crops none of them would move
_SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",  # 2 in Ray
    # 60 in Ray. Room that was counted is there or it is not: a node that died unseen costs this long.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",  # 5 in Ray
}

log = logging.getLogger(__name__)


def prefer_fast_recovery() -> None:
    """Has Ray Train notice and act sooner than it does by itself; what the environment already says stays."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


class Trainer(TorchTrainer):
    """Ray's TorchTrainer, whose elastic policy looks at the cluster as it is."""

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        scaling = cast(ScalingConfig, self.scaling_config)  # TorchTrainer's annotation is that of Train's first version
        if scaling.elasticity_enabled:
            arguments["scaling_policy"] = _Policy(scaling)
        return super()._initialize_and_run_controller(**arguments)


class _Policy(ElasticScalingPolicy):
    def _get_reserved_resources(self) -> dict[str, dict[str, float]] | None:
        try:
            reserved = ray.get(
                self._autoscaling_coordinator.get_reserved_resources.remote(self._requester_id, recompute=True),
                timeout=5,
            )
            draining = ray._private.state.state.get_draining_nodes()
        except Exception as error:
            # As in the method that this replaces: no answer is no reason to change anything.
            log.warning("the cluster's resources are not known at present: %s", error)
            return None
        return {node: resources for node, resources in reserved.items() if node not in draining}

    def _count_possible_workers(self, reserved_resources: dict[str, dict[str, float]]) -> int:
        workers: int = super()._count_possible_workers(reserved_resources)
        each = self.scaling_config._resources_per_worker_not_none.get("CPU", 0.0)
        if not each:
            return workers
        draining = ray._private.state.state.get_draining_nodes()
        nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in draining]
        cpus = sum(node["Resources"].get("CPU", 0.0) for node in nodes)
        return min(workers, int((cpus - _CPUS_FOR_CROPS) // each))


class ParkBeforeResize(ControllerCallback):
    """Has the workers write a checkpoint before a planned change of their number, so that no step is lost.

    Args:
        monitor: the run's Monitor.
    """

    def __init__(self, monitor: Any) -> None:
        self._monitor = monitor

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:  # noqa: ARG002
        """Blocks the controller, which has nothing else to do then, until the workers have saved and wait."""
        if not isinstance(current_state, ResizingState):
            return
        ray.get(self._monitor.request_park.remote())
        patience = time.monotonic() + _PARK_SECONDS
        while time.monotonic() < patience and not ray.get(self._monitor.parked.remote()):
            time.sleep(0.1)
