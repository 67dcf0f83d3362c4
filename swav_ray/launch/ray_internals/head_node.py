"""The resource that only the head node of a cluster has. Read in Ray 2.60.

Ray shows it in `ray.cluster_resources()` and documents no constant for it. `node:IP`, which is documented, is the same
for all nodes of one machine. A label selector pins an actor to a node, but does not limit how many fit there.
"""

from __future__ import annotations

from ray._common.constants import HEAD_NODE_RESOURCE_NAME

HEAD_NODE = HEAD_NODE_RESOURCE_NAME
"""Name of the resource; the head node has 1.0 of it. Wraps `ray._common.constants.HEAD_NODE_RESOURCE_NAME`."""

CLEANER = 0.001
"""Amount of it that one training takes: Ray Train starts a cleaner of placement groups with it.

Read in `ray.train.v2._internal.callbacks.placement_group_callback`.
"""
