"""How many workers a run has, and when: Ray Train's elastic training, with what a run of days needs beyond it.

Ray 2.60 decides from a view of the cluster that is up to 20 s old, and it counts draining nodes: it restarts at the old
size and waits 64 s for room that will not come. It also kills the workers the moment it decides to resize, with all
that they have done since their last checkpoint. Here a draining node does not count, the cluster is polled as it is,
and workers save before a resize. What this touches inside Ray Train is in ray_internals/.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import ray

from swav_ray.launch.crop_task import TASK_CPUS
from swav_ray.launch.ray_internals.draining import draining_nodes
from swav_ray.launch.ray_internals.elastic_policy import ElasticPolicy
from swav_ray.launch.ray_internals.environment import FAST_RECOVERY
from swav_ray.launch.ray_internals.trainer import HookedTrainer
from swav_ray.launch.ray_internals.worker_group import WorkerGroupEvents

_PARK_SECONDS = 600.0  # that live workers have to save before they are replaced
_POLL_SECONDS = 1.0  # between polls of the cluster

log = logging.getLogger(__name__)


def prefer_fast_recovery() -> None:
    """Makes Ray Train notice and act sooner than by default. A variable that the environment already has stays."""
    for name, value in FAST_RECOVERY.items():
        os.environ.setdefault(name, value)


class Trainer(HookedTrainer):
    """Ray's TorchTrainer, whose elastic policy sees the cluster as it is.

    Args:
        owner: the run's name on the cluster: a later trainer of the same run takes its predecessor's place.
        monitor: the run's Monitor.
        arguments: of TorchTrainer.
    """

    def __init__(self, *, owner: str, monitor: Any, **arguments: Any) -> None:
        scaling = arguments["scaling_config"]
        policy = _Policy(scaling, owner) if scaling.elasticity_enabled else None
        super().__init__(events=_Workers(monitor), policy=policy, **arguments)


class _Policy(ElasticPolicy):
    """Requests resources under the run's own name, not a new one: Ray keeps a killed controller's for minutes."""

    def __init__(self, scaling: Any, owner: str) -> None:
        super().__init__(scaling, f"train-{owner}")
        self._requested = 0
        self._polled = 0.0

    def request(self) -> None:
        self._requested = self.workers_to_request()
        super().request()

    def workers_to_request(self) -> int:
        """Ray Data gets what is not requested here: training on CPUs must not request all of them."""
        if self.scaling_config.use_gpu:
            return int(self.scaling_config.max_workers)
        return max(self.scaling_config.min_workers, min(self.scaling_config.max_workers, self.most_workers()))

    def most_workers(self) -> int:
        """How many fit beside a crop task: without crops none of them would move."""
        each = self.scaling_config.num_cpus_per_worker
        draining = draining_nodes()
        nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in draining]
        cpus = sum(node["Resources"].get("CPU", 0.0) for node in nodes)
        return int((cpus - TASK_CPUS) // each) if each else int(self.scaling_config.max_workers)

    def reserved(self) -> dict[str, dict[str, float]] | None:
        # While there is no room for workers the controller calls this in a loop without a pause of its own, and each
        # answer costs the head node some work.
        time.sleep(max(0.0, self._polled + _POLL_SECONDS - time.monotonic()))
        self._polled = time.monotonic()
        try:
            if self.workers_to_request() != self._requested:
                self.request()
            reserved = self.reserved_now()
            draining = draining_nodes()
        except ray.exceptions.RayTaskError:
            raise  # the coordinator answers, but not as Ray 2.60: without this the run would never resize, silently
        except ray.exceptions.RayError as error:
            # As in Ray's own policy: no answer is no reason to change anything.
            log.warning("the cluster's resources are not known at present: %s", error)
            return None
        return {node: resources for node, resources in reserved.items() if node not in draining}


class _Workers(WorkerGroupEvents):
    """What Ray Train does not do for the workers that it starts.

    It reports to the run whether there are any. Before a planned change of their number they write a checkpoint, so
    that no step is lost. And if their start fails after Ray Train has counted them as started (a node dies while the
    process group is set up), what they hold is released: else their placement group belongs to nobody, and the cluster
    has no room for the next ones.

    Args:
        monitor: the run's Monitor.
    """

    def __init__(self, monitor: Any) -> None:
        super().__init__()
        self._monitor = monitor

    def after_start(self, placement_group: Any) -> None:
        ray.get(self._monitor.note_started.remote(placement_group))

    def before_start(self) -> None:
        self.release_workers()
        ray.get(self._monitor.note_starting.remote())

    def before_end(self) -> None:
        self.release_workers()

    def state_changed(self, *, waiting: bool, resizing: bool) -> None:
        """Ends the training if the run was given up while there are no workers; lets workers save before a resize."""
        given_up = ray.get(self._monitor.note_waiting.remote(waiting))
        if waiting and given_up:
            raise RuntimeError(given_up)
        if resizing:
            self._wait_until_parked()

    def _wait_until_parked(self) -> None:
        """Blocks the controller, which has nothing else to do then, until the workers have saved or one has died.

        Those that are left beside a dead one would never save.
        """
        ray.get(self._monitor.request_park.remote())
        end = time.monotonic() + _PARK_SECONDS
        while time.monotonic() < end and not ray.get(self._monitor.parked.remote()) and self.workers_alive():
            time.sleep(0.1)
