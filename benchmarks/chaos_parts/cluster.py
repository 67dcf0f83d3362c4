"""A Ray cluster of several nodes on this machine, and the ways to take parts of it away.

Processes are found below the raylets that were started here and by what they have open, never by a machine-wide name.
"""

from __future__ import annotations

import contextlib
import copy
import os
import sys
import time
from typing import Any

import psutil
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster as RayCluster
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

SYSTEM_CONFIG = {
    # A dead node is noticed after about 5 s instead of 15; a raylet that is only slow still has Ray's 10 s to answer.
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    # 15 in Ray: with all nodes on one machine its workers would starve behind everything else that runs there.
    "worker_niceness": 0,
}
_TRIES = 4  # an overloaded machine may be too slow for a raylet's fixed limits


class Cluster:
    """A head that survives, with no CPUs for training, and nodes that do not.

    Args:
        nodes: at the start.
        cpus: of each node.
    """

    def __init__(self, nodes: int, cpus: int) -> None:
        self._cpus = cpus
        self._nodes: list[Any] = []
        self._drained: dict[Any, float] = {}
        self._head: Any = None
        self._ray = RayCluster()
        self._head = self._start(num_cpus=0, include_dashboard=False, _system_config=SYSTEM_CONFIG)
        self.restore(nodes)

    def restore(self, nodes: int) -> None:
        """So many nodes, none of them draining."""
        for node in [*self._drained, *self._nodes[nodes:]]:
            self.lose(node)
        while len(self._nodes) < nodes:
            self.join()

    @property
    def address(self) -> str:
        return str(self._ray.address)

    def _start(self, **options: Any) -> Any:
        """A node of these options; the first one is the head. Only the main thread may start one."""
        for _ in range(_TRIES - 1):
            before = set(psutil.Process().children())
            try:
                return self._ray.add_node(**copy.deepcopy(options))
            except Exception as error:
                print(f"a node did not start, trying again: {error}", file=sys.stderr)
            for process in set(psutil.Process().children()) - before:
                for one in [*process.children(recursive=True), process]:
                    _kill(one)
            if self._head is None:
                self._ray = RayCluster()  # nothing of a half-started head is used
        return self._ray.add_node(**copy.deepcopy(options))

    def join(self) -> None:
        """A new node; returns when it is there."""
        self._nodes.append(self._start(num_cpus=self._cpus))

    def drain(self, node: Any, seconds: float) -> None:
        """Drains a node, as a cloud's notice does, with a deadline in so many seconds; `tick` then removes it."""
        deadline = time.time_ns() // 1_000_000 + round(seconds * 1000)
        client = GcsClient(address=self.address)
        reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        accepted, why = client.drain_node(node.node_id, reason, "chaos", deadline)
        if not accepted:
            raise RuntimeError(f"the drain was not accepted: {why}")
        self._drained[node] = time.monotonic() + seconds

    def tick(self) -> None:
        """Removes the nodes whose notice has run out."""
        for node in [node for node, deadline in self._drained.items() if time.monotonic() >= deadline]:
            self.lose(node)

    def lose(self, node: Any) -> None:
        """Ends every process of a node at once, as a power cut would."""
        self._drained.pop(node, None)
        self._nodes.remove(node)
        raylet = _raylet(node)
        doomed = [raylet, *raylet.children(recursive=True)]
        for process in doomed:
            _kill(process)
        self._ray.remove_node(node, allow_graceful=False)

    def nodes(self) -> list[Any]:
        """The nodes that stay, oldest first: alive and not draining."""
        return [node for node in self._nodes if node not in self._drained]

    def training_workers(self, node: Any = None) -> list[psutil.Process]:
        """The processes that train, on a node or everywhere, rank 0's first."""
        found = []
        for one in self._nodes if node is None else [node]:
            found += _titled(_raylet(one), "RayTrainWorker")
        return sorted(found, key=lambda process: not is_chief(process))

    def controllers(self) -> list[psutil.Process]:
        """Ray Train's controllers, which live beside the driver, on the head."""
        return _titled(_raylet(self._head), "TrainController")

    def close(self) -> None:
        self._ray.shutdown()


def is_chief(process: psutil.Process) -> bool:
    """Whether it is rank 0's: the one that writes TensorBoard's events."""
    with contextlib.suppress(psutil.Error, OSError):
        return any("events.out.tfevents" in file.path for file in process.open_files())
    return False


def _raylet(node: Any) -> psutil.Process:
    return psutil.Process(node.all_processes["raylet"][0].process.pid)


def _titled(raylet: psutil.Process, title: str) -> list[psutil.Process]:
    found = []
    with contextlib.suppress(psutil.Error):
        for process in raylet.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any(title in word for word in process.cmdline()[:1]) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error, OSError):
        process.kill()


def thread_limits() -> None:
    """One thread a process for numeric libraries: the nodes share one machine's cores. Before anything starts."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
