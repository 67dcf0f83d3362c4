"""Ray Data makes the batches: tasks on any node of the cluster, in the plan's order, across epochs without a seam.

A row of the data set is one worker's slice of a step, packed as bytes, or a part of the slice if that is large. So rows
and blocks are one thing, and `streaming_split(equal=True)` deals them round-robin, which is (step, part, rank) order.
Slices need not be even. A run is fed in segments of many steps, epochs included. The next segment is planned, and its
first batches are made, while the last ones of this segment train.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import ray
import ray.data
import ray.train.collective
from ray.data import ExecutionResources

from swav_ray.data.batch import Batch
from swav_ray.data.batches import BatchMaker
from swav_ray.data.crop_blocks import blocks_of_task, parts_of_slice
from swav_ray.launch.crop_task import TASK_CPUS, Crops, Segment
from swav_ray.launch.ray_internals import coordinator
from swav_ray.launch.ray_internals.data_loop import RateLimitedLoop
from swav_ray.launch.ray_internals.whole_tasks import run_to_their_end
from swav_ray.launch.segment_reader import SegmentReader
from swav_ray.training.distributed import World

SEGMENT_BLOCKS = 4096  # blocks that one Ray data set plans; bounds what its driver holds
LEAD_BLOCKS = 256  # before the end of a segment, when the next one is planned: its driver takes seconds to start
HANDOVER_BLOCKS = 32  # before the end of a segment, when tasks of the next one start; both use the CPUs from then on
STORE_FRACTION = 0.25  # of the cluster's object stores, at most, for crops that wait for training
_SAMPLE_SECONDS = 10.0  # between polls of the object store

log = logging.getLogger(__name__)


def _name(owner: str) -> str:
    """The name of a run's data sets; no two runs of a cluster have the same."""
    return f"swav-{hashlib.sha256(owner.encode()).hexdigest()[:12]}"


def release_earlier_segments(owner: str) -> None:
    """Releases the CPUs that are still reserved for data sets of killed workers, for up to three minutes.

    Ray divides what training leaves evenly among all data sets that it takes for alive. After a restart the new one
    would get half of it, or nothing if half is less than a CPU.

    Raises:
        ray.exceptions.RayTaskError: the inside of Ray has changed; every later restart would be as slow.
    """
    try:
        for requester in coordinator.requesters(coordinator.data_requester(_name(owner))):
            coordinator.release(requester)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        log.warning("resources of killed workers are free only in a few minutes: %s", error)


def _start_segment(maker: Any, plan: Segment, owner: str, cpus: float) -> list[ray.data.DataIterator]:
    """Plans a segment; one iterator a worker. Nothing runs until all of them are read."""
    dataset = ray.data.read_datasource(Crops(maker, plan), override_num_blocks=plan.tasks, num_cpus=TASK_CPUS)
    # The CPUs of the training workers are not excluded here: Ray Train reports them to Ray's autoscaling coordinator,
    # which gives Ray Data the rest. Excluding them again would leave as many CPUs idle as training holds.
    dataset.set_name(_name(owner))
    dataset.context.execution_options.preserve_order = True
    dataset.context.custom_execution_callback_classes = [RateLimitedLoop]
    if cpus:
        dataset.context.execution_options.resource_limits = ExecutionResources(cpu=cpus)
    dataset.context.target_max_block_size = 1  # a block is what a task yields, however small
    dataset.context.override_object_store_memory_limit_fraction = STORE_FRACTION
    run_to_their_end(dataset.context, plan.task_blocks)
    return dataset.streaming_split(plan.workers, equal=True)


class Feed:
    """This worker's batches of steps start..end-1, in order; an iterator.

    Every worker makes one, at the same time and with the same arguments: rank 0 plans and sends the iterators round.

    Args:
        maker: how to make a batch.
        world: the workers.
        start, end: the steps to feed.
        owner: the run's name on the cluster, for `release_earlier_segments`.
        cpus: that make batches, at most; 0: all that training leaves.
        training_cpus: that the workers hold. If that is half of the cluster or more, a task has a second thread: with
            one core each, the others would be idle whenever training waits.
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
        batch, sample_bytes = maker.plan.global_batch_size, 3 * maker.multi_crop.crops.pixels
        window = maker.plan.window if maker.plan.block else 0
        self._parts = parts_of_slice(batch, sample_bytes, world.size)
        self._task_blocks = blocks_of_task(batch, sample_bytes, world.size * self._parts, window)
        blocks_a_step = world.size * self._parts
        self._lead = max(1, lead_blocks // blocks_a_step)
        self._handover = max(1, handover_blocks // blocks_a_step)
        self._segment_steps = max(segment_blocks // blocks_a_step, self._lead + 1)
        threads = 2 if 2 * training_cpus >= ray.cluster_resources()["CPU"] else 1
        self._shared_maker = ray.put(replace(maker, threads=threads)) if world.rank == 0 else None
        self._planned = self._step = start
        self._waiting: ray.data.DataIterator | None = None  # of the next segment, planned and not started
        self._boundary = start  # the first step of the next segment
        self._readers: list[SegmentReader] = []
        self._nodes: set[str] = set()
        self._usage: dict[str, float] = {}
        self._sampled = 0.0
        self._plan_next()
        self._start_next()

    def _plan_next(self) -> None:
        """Plans the next segment; a collective."""
        stop = min(self._end, self._planned + self._segment_steps)
        iterators = None
        if self._world.rank == 0:
            positions = np.stack(self._maker.plan.positions(self._planned, stop))
            segment = Segment(self._planned, positions, self._world.size, self._parts, self._task_blocks)
            iterators = _start_segment(self._shared_maker, segment, self._owner, self._cpus)
        if self._world.size > 1:
            iterators = ray.train.collective.broadcast_from_rank_zero(iterators)
        assert iterators is not None
        self._waiting, self._boundary, self._planned = iterators[self._world.rank], self._planned, stop

    def _start_next(self) -> None:
        """Starts the tasks of the planned segment, once every worker has done so."""
        assert self._waiting is not None
        self._readers.append(SegmentReader(self._waiting, self._maker, self._parts))
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
        """Sampled every ten seconds: bytes in the whole cluster's object stores, and how many those can hold; how many
        nodes have made this worker's batches since the last sample."""
        now = time.monotonic()
        if now - self._sampled > _SAMPLE_SECONDS:
            self._sampled = now
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
