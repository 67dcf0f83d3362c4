"""Ray Data makes the batches: one task a batch of one worker, in the plan's order, across epochs without a seam.

A row of the data set is a whole batch of one worker, packed as bytes, so that rows, blocks and batches are one thing:
`streaming_split(equal=True)` deals them round-robin, which is (step, rank) order, and no share needs to be even.
A run is fed in segments of many steps, epochs included; the next segment starts before the last one ends.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
import ray.train.collective
from ray.data import ExecutionResources

from swav_ray.data.batches import Batch, BatchMaker
from swav_ray.data.sample_plan import share
from swav_ray.training.distributed import World

SEGMENT_BLOCKS = 4096  # batches of one worker that one Ray data set plans; bounds what its driver keeps
LEAD_BLOCKS = 64  # the next segment starts this many batches before the last one ends
PREFETCH = 2  # batches ready in a worker


@dataclass(frozen=True, eq=False)
class _Segment:
    """What a task needs to know of its segment: the planned ids of every step, (steps, global batch)."""

    start: int
    ids: np.ndarray
    workers: int


def _pack(batch: Batch) -> pa.Table:
    """One row, its arrays as bytes without a copy."""
    return pa.table(
        {
            "about": pa.array([batch.about()], pa.string()),
            "sample_ids": _as_bytes(batch.sample_ids),
            "pixels": _as_bytes(batch.pixels),
            "color": _as_bytes(batch.color),
        }
    )


def _as_bytes(array: np.ndarray) -> pa.Array:
    ends = pa.py_buffer(np.array([0, array.nbytes], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(array)])


def _unpack(row: pa.Table) -> Batch:
    """The inverse of `_pack`: arrays are views of the object store's memory, which is read-only."""

    def view(name: str, dtype: type) -> np.ndarray:
        column = row[name].chunk(0)
        start, end = np.frombuffer(column.buffers()[1], np.int64, count=2, offset=8 * column.offset)
        return np.frombuffer(column.buffers()[2], np.uint8, count=end - start, offset=start).view(dtype)

    about = row["about"][0].as_py()
    return Batch.of(about, view("sample_ids", np.int64), view("pixels", np.uint8), view("color", np.float32))


def _make(block: pa.Table, maker: Any, segment: Any) -> pa.Table:
    """The task: block number to batch. `maker` and `segment` are references, read from the object store in place."""
    batch_maker: BatchMaker = ray.get(maker)
    plan: _Segment = ray.get(segment)
    offset, rank = divmod(block["id"][0].as_py(), plan.workers)
    ids = plan.ids[offset]
    return _pack(batch_maker.make(plan.start + offset, ids[share(len(ids), plan.workers, rank)]))


def _start_segment(maker: Any, plan: _Segment, reserved: ExecutionResources) -> list[ray.data.DataIterator]:
    """Plans a segment; one iterator a worker. Nothing runs until all of them are read."""
    blocks = len(plan.ids) * plan.workers
    dataset = ray.data.range(blocks, override_num_blocks=blocks).map_batches(
        _make,  # type: ignore[arg-type]
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        fn_kwargs={"maker": maker, "segment": ray.put(plan)},
    )
    options = dataset.context.execution_options
    options.preserve_order = True
    # Training holds these; crops that waited for them would wait for ever.
    options.exclude_resources = reserved
    return dataset.streaming_split(plan.workers, equal=True)


class Feed:
    """This worker's batches of steps start..end-1, in order; an iterator.

    Every worker makes one, at the same time and with the same arguments: rank 0 plans and hands the iterators round.

    Args:
        maker: how to make a batch.
        world: the workers.
        start, end: the steps to feed.
        reserved: what the training workers hold, which tasks must leave alone.
    """

    def __init__(self, maker: BatchMaker, world: World, start: int, end: int, reserved: ExecutionResources) -> None:
        self._world, self._end, self._reserved = world, end, reserved
        self._plan = maker.plan
        self._maker = ray.put(maker) if world.rank == 0 else None
        self._planned = start
        self._step = start
        self._lead = max(1, LEAD_BLOCKS // world.size)
        self._segments: queue.Queue[ray.data.DataIterator | None] = queue.Queue()
        self._ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=PREFETCH)
        self._plan_next()
        threading.Thread(target=self._pull, name="feed", daemon=True).start()

    def _plan_next(self) -> None:
        """Starts the next segment, if one is left; a collective."""
        if self._planned >= self._end:
            self._segments.put(None)
            return
        steps = max(SEGMENT_BLOCKS // self._world.size, self._lead + 1)
        stop = min(self._end, self._planned + steps)
        iterators = None
        if self._world.rank == 0:
            ids = np.stack(self._plan.batches(self._planned, stop))
            iterators = _start_segment(self._maker, _Segment(self._planned, ids, self._world.size), self._reserved)
        iterators = ray.train.collective.broadcast_from_rank_zero(iterators)
        assert iterators is not None
        self._segments.put(iterators[self._world.rank])
        self._planned = stop

    def _pull(self) -> None:
        """The thread that keeps a few batches ready, so that unpacking and waiting overlap with training."""
        try:
            while (iterator := self._segments.get()) is not None:
                for row in iterator.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=PREFETCH):
                    self._ready.put(_unpack(row))
            self._ready.put(None)
        except BaseException as error:
            self._ready.put(error)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._step == self._planned - self._lead or (self._step == self._planned and self._planned >= self._end):
            self._plan_next()
        ready = self._ready.get()
        if ready is None:
            raise StopIteration
        if isinstance(ready, BaseException):
            raise ready
        self._step += 1
        return ready
