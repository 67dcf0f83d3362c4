"""Ray Data makes the batches: tasks on any node of the cluster, in the plan's order, across epochs without a seam.

A row of the data set is one worker's share of a step, or a part of it where the share is large, packed as bytes, so
that rows, blocks and tasks are one thing: `streaming_split(equal=True)` deals them round-robin, which is (step, part,
rank) order, and no share needs to be even. A run is fed in segments of many steps, epochs included; the next segment
is planned, and its first batches are made, while the last ones of this segment train.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import ray
import ray.data
import ray.train.collective
from ray.data import ExecutionResources
from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import get_or_create_autoscaling_coordinator

from swav_ray.data.batch import Batch
from swav_ray.data.batches import BatchMaker
from swav_ray.launch.crop_task import Crops, Paced, Segment, unpack
from swav_ray.training.distributed import World

SEGMENT_BLOCKS = 4096  # blocks that one Ray data set plans; bounds what its driver keeps
LEAD_BLOCKS = 256  # before the end of a segment, when the next one is planned: its driver takes seconds to start
HANDOVER_BLOCKS = 32  # before the end of a segment, when tasks of the next one start; they share the CPUs from then on
PART_BYTES = 64 << 20  # of crops in a block, at most: a fraction of a second's work, and shares made by many CPUs
# A task makes several blocks: half a second of work, of which starting it and seeing that it has ended is a small part.
TASK_BYTES, TASK_BLOCKS = 2 * PART_BYTES, 32
STORE_SHARE = 0.25  # of the cluster's object stores that crops made ahead may fill
TASK_CPUS = 1.0  # more tasks than CPUs fill them better, but Ray ends and starts their surplus processes all the time
PREFETCH = 2  # batches ready in a worker, and blocks on their way to it
_SAMPLE_SECONDS = 10.0  # between looks at the object store

log = logging.getLogger(__name__)


def _name(owner: str) -> str:
    """What the data sets of a run are called; no two runs of a cluster alike."""
    return f"swav-{hashlib.sha256(owner.encode()).hexdigest()[:12]}"


def forget_earlier_segments(owner: str) -> None:
    """Takes back the CPUs that data sets of killed workers still hold in Ray Data's books, for up to three minutes.

    Ray divides what training leaves evenly among all data sets that it takes for alive, so that after a restart the
    new one would get half of it, or nothing where a half is less than a CPU. Ray has no public way to say that a data
    set is dead; where its inside has changed, the restart is slower and nothing else.
    """
    prefix = f"data-{_name(owner)}"

    def forget(books: Any) -> None:
        for name in [name for name in books._ongoing_reqs if name.startswith(prefix)]:
            books.cancel_request(name)

    try:
        ray.get(get_or_create_autoscaling_coordinator().__ray_call__.remote(forget), timeout=10)
    except Exception as error:
        log.warning("resources of killed workers are free only in a few minutes: %s", error)


def _start_segment(maker: Any, plan: Segment, owner: str, cpus: float) -> list[ray.data.DataIterator]:
    """Plans a segment; one iterator a worker. Nothing runs until all of them are read."""
    dataset = ray.data.read_datasource(Crops(maker, plan), override_num_blocks=plan.tasks, num_cpus=TASK_CPUS)
    # The CPUs of the training workers are not excluded here: Ray Train reports them to Ray's autoscaling coordinator,
    # which hands Ray Data the rest. Excluding them again would leave as many CPUs idle as training holds.
    dataset.set_name(_name(owner))
    dataset.context.execution_options.preserve_order = True
    dataset.context.custom_execution_callback_classes = [Paced]
    if cpus:
        dataset.context.execution_options.resource_limits = ExecutionResources(cpu=cpus)
    dataset.context.target_max_block_size = 1  # a block is what a task yields, however small
    dataset.context.override_object_store_memory_limit_fraction = STORE_SHARE
    return dataset.streaming_split(plan.workers, equal=True)


class _Reader:
    """One segment's batches of this worker, kept a few ahead by a thread, so that fetching overlaps with training.

    The thread starts with the segment, so the segment's tasks run before its first batch is asked for.
    """

    def __init__(self, iterator: ray.data.DataIterator, maker: BatchMaker, parts: int) -> None:
        self._ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=PREFETCH)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(iterator, maker, parts), name="feed", daemon=True)
        self._thread.start()

    def ready(self, seconds: float) -> bool:
        """Whether `get` has an answer within so many seconds."""
        with self._ready.not_empty:
            return bool(self._ready.not_empty.wait_for(lambda: self._ready.queue, seconds))

    def ended(self) -> bool:
        """Whether the answer that is there is the segment's end."""
        return self._ready.queue[0] is None

    def get(self) -> Batch | None:
        """The next batch, or None at the segment's end; raises what the task or the thread failed with."""
        ready = self._ready.get()
        try:
            if isinstance(ready, BaseException):
                raise ready
            return ready
        finally:
            del ready  # or the error's traceback would hold the error, and with it the segment, for as long as it likes

    def close(self) -> None:
        """Ends the thread, and with it the segment's tasks."""
        self._closed.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._ready.get_nowait()
        self._thread.join(timeout=5)

    def _run(self, iterator: ray.data.DataIterator, maker: BatchMaker, parts: int) -> None:
        try:
            collected: list[Batch] = []
            blocks = iterator.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=PREFETCH)  # type: ignore[arg-type]
            for row in blocks:
                collected.append(unpack(row))
                if len(collected) == parts:
                    if not self._put(Batch.join(collected, maker.multi_crop.crops)):
                        return
                    collected = []
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: Batch | BaseException | None) -> bool:
        """Whether anybody still wants it."""
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put(item, timeout=0.5)
                return True
        return False


class Feed:
    """This worker's batches of steps start..end-1, in order; an iterator.

    Every worker makes one, at the same time and with the same arguments: rank 0 plans and hands the iterators round.

    Args:
        maker: how to make a batch.
        world: the workers.
        start, end: the steps to feed.
        owner: the run's name on the cluster, for `forget_earlier_segments`.
        cpus: that make batches, at most; 0: all that training leaves.
        training_cpus: that the workers hold. Where that is half of the cluster or more, a task has a second thread: one
            core each would leave the others idle whenever training waits.
        segment_blocks, lead_blocks, handover_blocks: see the constants.
    """

    def __init__(
        self,
        maker: BatchMaker,
        world: World,
        start: int,
        end: int,
        *,
        owner: str = "",
        cpus: float = 0.0,
        training_cpus: float = 0.0,
        segment_blocks: int = SEGMENT_BLOCKS,
        lead_blocks: int = LEAD_BLOCKS,
        handover_blocks: int = HANDOVER_BLOCKS,
    ) -> None:
        self._maker, self._world, self._end, self._owner = maker, world, end, owner
        self._cpus = cpus
        self._parts = _parts(maker, world.size)
        self._task_blocks = _task_blocks(maker, world.size * self._parts)
        blocks_a_step = world.size * self._parts
        self._lead = max(1, lead_blocks // blocks_a_step)
        self._handover = max(1, handover_blocks // blocks_a_step)
        self._segment_steps = max(segment_blocks // blocks_a_step, self._lead + 1)
        threads = 2 if 2 * training_cpus >= ray.cluster_resources()["CPU"] else 1
        self._shared_maker = ray.put(replace(maker, threads=threads)) if world.rank == 0 else None
        self._planned = self._step = start
        self._waiting: ray.data.DataIterator | None = None  # of the next segment, planned and not started
        self._boundary = start  # the first step of the next segment
        self._readers: list[_Reader] = []
        self._nodes: set[str] = set()
        self._usage: dict[str, float] = {}
        self._looked = 0.0
        self._plan_next()
        self._start_next()

    def _plan_next(self) -> None:
        """Plans the next segment; a collective."""
        stop = min(self._end, self._planned + self._segment_steps)
        iterators = None
        if self._world.rank == 0:
            ids = np.stack(self._maker.plan.batches(self._planned, stop))
            segment = Segment(self._planned, ids, self._world.size, self._parts, self._task_blocks)
            iterators = _start_segment(self._shared_maker, segment, self._owner, self._cpus)
        if self._world.size > 1:
            iterators = ray.train.collective.broadcast_from_rank_zero(iterators)
        assert iterators is not None
        self._waiting, self._boundary, self._planned = iterators[self._world.rank], self._planned, stop

    def _start_next(self) -> None:
        """Starts the tasks of the planned segment, once every worker has done so."""
        assert self._waiting is not None
        self._readers.append(_Reader(self._waiting, self._maker, self._parts))
        self._waiting = None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def ready(self, seconds: float) -> bool:
        """Whether the next batch, or what it failed with, comes within so many seconds."""
        end = time.monotonic() + seconds
        while self._readers and self._readers[0].ready(max(0.0, end - time.monotonic())):
            if not self._readers[0].ended():
                return True
            del self._readers[0]
        return not self._readers

    def __next__(self) -> Batch:
        if self._step >= self._end:
            raise StopIteration
        if self._planned < self._end and self._step >= self._planned - self._lead:
            self._plan_next()
        if self._waiting is not None and self._step >= self._boundary - self._handover:
            self._start_next()
        while (batch := self._readers[0].get()) is None:
            del self._readers[0]
        self._step += 1
        self._nodes.update(batch.made_on)
        return batch

    def usage(self) -> dict[str, float]:
        """Of the whole cluster, looked at every ten seconds: bytes in its object stores, and what they can hold; the
        nodes that have made this worker's batches since the last look."""
        now = time.monotonic()
        if now - self._looked > _SAMPLE_SECONDS:
            self._looked = now
            capacity = ray.cluster_resources().get("object_store_memory", 0.0)
            free = ray.available_resources().get("object_store_memory", 0.0)
            self._usage = {
                "object_store_bytes": capacity - free,
                "object_store_capacity": capacity,
                "crop_nodes": len(self._nodes),
            }
            self._nodes = set()
        return self._usage

    def close(self) -> None:
        """Stops making batches; for a feed that is not read to its end."""
        for reader in self._readers:
            reader.close()
        self._readers, self._waiting = [], None


def _batch_bytes(maker: BatchMaker) -> int:
    """Of the crops of a step."""
    crops = maker.multi_crop.crops
    row_bytes = sum(count * size * size * 3 for count, size in zip(crops.counts, crops.sizes, strict=True))
    return maker.plan.global_batch_size * row_bytes


def _parts(maker: BatchMaker, workers: int) -> int:
    """Blocks that a worker's share is made in."""
    wanted = -(-_batch_bytes(maker) // (workers * PART_BYTES))
    return max(1, min(wanted, maker.plan.global_batch_size // workers))


def _task_blocks(maker: BatchMaker, blocks_a_step: int) -> int:
    """Blocks that a task makes."""
    return min(TASK_BLOCKS, max(1, TASK_BYTES * blocks_a_step // _batch_bytes(maker)))
