"""Ray still has what head_node.py wraps."""

from __future__ import annotations

from swav_ray.launch.ray_internals.head_node import CLEANER
from tests.launch.ray_internals.contract import Contract

HEAD_NODE = Contract(
    mend="swav_ray/launch/ray_internals/head_node.py",
    breaks="a sweep's trials never start, or more of them at once than fit",
)
CALLBACK = "ray.train.v2._internal.callbacks.placement_group_callback:PlacementGroupCleanerCallback"


def test_the_head_node_has_a_resource_of_its_own() -> None:
    name = HEAD_NODE.name("ray._common.constants:HEAD_NODE_RESOURCE_NAME")
    HEAD_NODE.check(name.startswith("node:"), f"HEAD_NODE_RESOURCE_NAME is {name!r}, no resource of a node")
    resolve = "ray._private.resource_and_label_spec:ResourceAndLabelSpec._resolve_resources"
    HEAD_NODE.uses(resolve, "HEAD_NODE_RESOURCE_NAME", "is_head")


def test_ray_trains_cleaner_takes_a_known_part_of_it() -> None:
    start = f"{CALLBACK}.after_controller_start"
    HEAD_NODE.uses(start, "HEAD_NODE_RESOURCE_NAME")
    amounts = [value for value in HEAD_NODE.name(start).__code__.co_consts if isinstance(value, float)]
    HEAD_NODE.check(CLEANER in amounts, f"{start} takes {amounts}, not {CLEANER}")
