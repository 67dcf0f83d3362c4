"""Tasks of Ray Data that run to their end, whether or not their blocks are taken meanwhile. Read in Ray 2.60.

By itself a task stops after two blocks that nobody has taken, and keeps its CPU. If a node is lost, the tasks that made
its blocks wait for a CPU to make them again, and the blocks that come after those are not taken before. So on a cluster
whose last CPU such a task holds, everything waits for ever.

Ray stops a task as soon as it has made as many blocks as there is room for, even if that one was its last. So there has
to be room for one more.
"""

from __future__ import annotations

from typing import Any


def run_to_their_end(context: Any, task_blocks: int) -> None:
    """Makes room for all blocks of a task, and one more, in a data set's context (`ray.data.DataContext`).

    Wraps `DataContext._max_num_blocks_in_streaming_gen_buffer`.
    """
    context._max_num_blocks_in_streaming_gen_buffer = task_blocks + 1
