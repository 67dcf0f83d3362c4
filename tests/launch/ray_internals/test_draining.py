"""Ray still has what draining.py wraps."""

from __future__ import annotations

from tests.launch.ray_internals.contract import Contract

DRAINING = Contract(
    mend="swav_ray/launch/ray_internals/draining.py",
    breaks="the spot watcher drains no node, and training counts nodes that are about to vanish",
)


def test_the_draining_nodes_can_be_listed() -> None:
    DRAINING.parameters("ray._private.state:state.get_draining_nodes")


def test_an_address_is_resolved_without_being_a_driver() -> None:
    resolve = "ray._private.services:canonicalize_bootstrap_address"
    DRAINING.parameters(resolve, "addr")
    DRAINING.check(DRAINING.name(resolve)("127.0.0.2:6379") == "127.0.0.2:6379", f"{resolve} changes HOST:PORT")


def test_a_node_is_drained_with_a_reason_and_a_deadline() -> None:
    # GcsClient hands every call on to this class.
    client = "ray._raylet:InnerGcsClient"
    DRAINING.name("ray._raylet:GcsClient")
    DRAINING.parameters(f"{client}.drain_node", "node_id", "reason", "reason_message", "deadline_timestamp_ms")
    reasons = dict(DRAINING.name("ray.core.generated.autoscaler_pb2:DrainNodeReason").items())
    name = "DRAIN_NODE_REASON_PREEMPTION"
    DRAINING.check(name in reasons, f"DrainNodeReason has no {name}: {reasons}")


def test_a_live_node_has_an_id_and_an_address() -> None:
    DRAINING.parameters("ray._raylet:InnerGcsClient.get_all_node_info")
    info = DRAINING.name("ray.core.generated.gcs_pb2:GcsNodeInfo")
    fields = info.DESCRIPTOR.fields_by_name
    missing = [name for name in ("node_id", "state", "node_manager_address") if name not in fields]
    DRAINING.check(not missing, f"GcsNodeInfo has no {', '.join(missing)}")
    DRAINING.check("ALIVE" in dict(info.GcsNodeState.items()), "GcsNodeInfo.GcsNodeState has no ALIVE")
