"""How the crops of a step are cut into blocks, and blocks into tasks: arithmetic, for the feed and for the plan.

A block is a worker's slice of a step, or a part of it. A task makes blocks that follow each other, and reads their
samples together.
"""

from __future__ import annotations

PART_BYTES = 64 << 20  # of crops in a block, at most: a fraction of a second's work, and slices made by many CPUs
# A task makes several blocks: half a second of work, of which starting it and seeing that it has ended is a small part.
TASK_BYTES, TASK_BLOCKS = 2 * PART_BYTES, 32
READ_TOGETHER = 512  # samples whose files and row groups are opened once, and whose bytes may have to be held


def parts_of_slice(batch: int, sample_bytes: int, workers: int) -> int:
    """Blocks that a worker's slice of a step is made in.

    Args:
        batch: samples of a step.
        sample_bytes: of the crops of a sample.
        workers: of the run.
    """
    wanted = -(-batch * sample_bytes // (workers * PART_BYTES))
    return max(1, min(wanted, batch // workers))


def blocks_of_task(batch: int, sample_bytes: int, blocks_a_step: int, window: int = 0) -> int:
    """Blocks that a task makes: as many as are half a second's work, or whole windows of neighbouring samples.

    A task that has a part of a window meets a part of the samples of each of its blocks, and asks for them one by one.

    Args:
        window: samples within which blocks of neighbours are shuffled; 0: the order knows no neighbours.
    """
    wanted = max(1, TASK_BYTES * blocks_a_step // (batch * sample_bytes))
    of_window = -(-window * blocks_a_step // batch)
    if 0 < of_window <= TASK_BLOCKS:
        wanted = -(-min(wanted, TASK_BLOCKS) // of_window) * of_window
        wanted = min(wanted, TASK_BLOCKS // of_window * of_window)
    return min(TASK_BLOCKS, wanted)


def samples_of_task(batch: int, sample_bytes: int, workers: int, window: int = 0) -> int:
    """Samples that a task reads."""
    blocks_a_step = workers * parts_of_slice(batch, sample_bytes, workers)
    return max(1, blocks_of_task(batch, sample_bytes, blocks_a_step, window) * batch // blocks_a_step)
