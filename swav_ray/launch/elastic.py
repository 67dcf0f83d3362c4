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
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.controller.state import (
    InitializingState,
    ReschedulingState,
    ResizingState,
    RestartingState,
    SchedulingState,
)
from ray.train.v2._internal.execution.scaling_policy.autoscaling_coordinator_client import (
    TrainAutoscalingCoordinatorClient,
)
from ray.train.v2._internal.execution.scaling_policy.elastic import ElasticScalingPolicy
from ray.train.v2.api.config import ScalingConfig
from ray.train.v2.torch.torch_trainer import TorchTrainer

_PARK_SECONDS = 600.0  # that workers which live have to save before they are replaced
_LOOK_SECONDS = 1.0  # between looks at the cluster
_WITHOUT_WORKERS = (InitializingState, SchedulingState, ReschedulingState, RestartingState)
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
    """Ray's TorchTrainer, whose elastic policy looks at the cluster as it is.

    Args:
        owner: the run's name on the cluster: a later trainer of the same run takes its predecessor's place.
        monitor: the run's Monitor.
        arguments: of TorchTrainer.
    """

    def __init__(self, *, owner: str, monitor: Any, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._owner, self._monitor = owner, monitor

    def _create_default_callbacks(self) -> list[Any]:
        # First, since what comes after it may be what fails.
        return [_Workers(self._monitor), *super()._create_default_callbacks()]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        scaling = cast(ScalingConfig, self.scaling_config)  # TorchTrainer's annotation is that of Train's first version
        if scaling.elasticity_enabled:
            arguments["scaling_policy"] = _Policy(scaling, self._owner)
        return super()._initialize_and_run_controller(**arguments)


class _Policy(ElasticScalingPolicy):
    def __init__(self, scaling_config: ScalingConfig, owner: str) -> None:
        super().__init__(scaling_config)
        self._owner = owner
        self._asked_for = 0
        self._looked = 0.0

    def after_controller_start(self, train_run_context: Any) -> None:  # noqa: ARG002
        """Asks for resources under the run's own name, not a new one: Ray keeps a killed controller's for minutes."""
        self._requester_id = f"train-{self._owner}"
        self._coordinator_client = TrainAutoscalingCoordinatorClient(self._requester_id)
        self._ask()

    def _ask(self) -> None:
        self._asked_for = self._get_num_workers_for_resource_request()
        self._send_resource_request()

    def _get_num_workers_for_resource_request(self) -> int:
        """Ray Data gets what is not asked for here: where training runs on CPUs, the most would be all of them."""
        if self.scaling_config.use_gpu:
            return int(self.scaling_config.max_workers)
        return max(self.scaling_config.min_workers, min(self.scaling_config.max_workers, self._fit_beside_crops()))

    def _fit_beside_crops(self) -> int:
        each = self.scaling_config._resources_per_worker_not_none.get("CPU", 0.0)
        draining = _draining()
        nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in draining]
        cpus = sum(node["Resources"].get("CPU", 0.0) for node in nodes)
        return int((cpus - _CPUS_FOR_CROPS) // each) if each else int(self.scaling_config.max_workers)

    def _get_reserved_resources(self) -> dict[str, dict[str, float]] | None:
        # While there is no room for workers the controller asks in a loop without a pause of its own, and each answer
        # costs the head node some work.
        time.sleep(max(0.0, self._looked + _LOOK_SECONDS - time.monotonic()))
        self._looked = time.monotonic()
        try:
            if self._get_num_workers_for_resource_request() != self._asked_for:
                self._ask()
            reserved = ray.get(
                self._autoscaling_coordinator.get_reserved_resources.remote(self._requester_id, recompute=True),
                timeout=5,
            )
            draining = _draining()
        except Exception as error:
            # As in the method that this replaces: no answer is no reason to change anything.
            log.warning("the cluster's resources are not known at present: %s", error)
            return None
        return {node: resources for node, resources in reserved.items() if node not in draining}

    def _count_possible_workers(self, reserved_resources: dict[str, dict[str, float]]) -> int:
        return min(super()._count_possible_workers(reserved_resources), self._fit_beside_crops())


def _draining() -> dict[str, int]:
    found: dict[str, int] = ray._private.state.state.get_draining_nodes()
    return found


class _Workers(WorkerGroupCallback, ControllerCallback):
    """What Ray Train does not do for the workers that it starts.

    It tells the run whether there are any. Before a planned change of their number they write a checkpoint, so that no
    step is lost. And where their start fails after Ray Train has counted them as started (a node dies while the
    process group is set up), what they hold is freed: else their placement group belongs to nobody, and the cluster
    has no room for the next ones.

    Args:
        monitor: the run's Monitor.
    """

    def __init__(self, monitor: Any) -> None:
        self._monitor = monitor
        self._started: Any = None

    def after_worker_group_start(self, worker_group: Any) -> None:
        self._started = worker_group.get_worker_group_state()
        ray.get(self._monitor.note_started.remote(self._started.placement_group_handle.placement_group))

    def after_worker_group_shutdown(self, worker_group_context: Any) -> None:  # noqa: ARG002
        self._started = None

    def after_worker_group_abort(self, worker_group_context: Any) -> None:  # noqa: ARG002
        self._started = None

    def before_worker_group_start(self, worker_group_context: Any) -> None:  # noqa: ARG002
        self._free()
        ray.get(self._monitor.note_starting.remote())

    async def before_controller_shutdown(self) -> None:
        self._free()

    def _free(self) -> None:
        started, self._started = self._started, None
        if started is not None:
            started.shutdown()

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:  # noqa: ARG002
        """Before a resize blocks the controller, which has nothing else to do then, until the workers have saved.

        While there are no workers ends the training where the run has been given up.
        """
        waiting = self._started is None and isinstance(current_state, _WITHOUT_WORKERS)
        given_up = ray.get(self._monitor.note_waiting.remote(waiting))
        if waiting and given_up:
            raise RuntimeError(given_up)
        if not isinstance(current_state, ResizingState):
            return
        ray.get(self._monitor.request_park.remote())
        patience = time.monotonic() + _PARK_SECONDS
        while time.monotonic() < patience and not ray.get(self._monitor.parked.remote()) and self._alive():
            time.sleep(0.1)

    def _alive(self) -> bool:
        """Whether no worker has died: of those that are left none would ever save."""
        actors = [worker.actor for worker in self._started.workers] if self._started is not None else []
        try:
            ray.get([actor.get_metadata.remote() for actor in actors], timeout=5)
        except ray.exceptions.GetTimeoutError:
            return True
        except ray.exceptions.RayActorError:
            return False
        return True
