"""Which nodes of a cluster drain, and the request to drain one. Read in Ray 2.60.

Ray's documentation describes drained nodes but has no public function for either. `ray drain-node` is a hidden command,
takes seconds to start, and rounds the deadline to whole seconds; the State API needs the dashboard and does not list
draining nodes.
"""

from __future__ import annotations

from typing import Any, cast

import ray
from ray._private import services
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.core.generated import autoscaler_pb2, gcs_pb2


def draining_nodes() -> dict[str, int]:
    """The draining nodes of the cluster that this process is connected to: hex id to deadline in epoch milliseconds.

    A deadline of 0 means that none is known. Wraps `ray._private.state.state.get_draining_nodes`.
    """
    found: dict[str, int] = ray._private.state.state.get_draining_nodes()
    return found


def gcs_address(address: str) -> str:
    """HOST:PORT of the cluster at `address`; "auto" is the one of this machine. "" if there is none.

    Wraps `ray._private.services.canonicalize_bootstrap_address`: the public `ray.init` would make this process a
    driver, which ends with the cluster.
    """
    return services.canonicalize_bootstrap_address(address) or ""


class Gcs:
    """A connection to a cluster's control store, without being a driver. Wraps `ray._raylet.GcsClient`.

    Args:
        address: HOST:PORT of the head.

    Raises:
        ray.exceptions.RayError, OSError, RuntimeError: nothing answers; the methods raise the same.
    """

    def __init__(self, address: str) -> None:
        self._client: Any = GcsClient(address=address)

    def nodes_at(self, host: str) -> list[str]:
        """Hex ids of the live nodes whose IP address is `host`."""
        alive = gcs_pb2.GcsNodeInfo.GcsNodeState.Value("ALIVE")  # type: ignore[attr-defined]
        found = self._client.get_all_node_info().values()
        return [node.node_id.hex() for node in found if node.state == alive and node.node_manager_address == host]

    def drain(self, node_id: str, reason: str, deadline: float) -> tuple[bool, str]:
        """Requests that a node drains until `deadline`, in seconds since the epoch, as for a preemption.

        Returns:
            Whether Ray accepts, and why not.
        """
        preemption = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")  # type: ignore[attr-defined]
        answer = self._client.drain_node(node_id, preemption, reason, int(deadline * 1000))
        return cast(tuple[bool, str], answer)
