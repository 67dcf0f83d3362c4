"""What a crop task is: some blocks of a segment, made on any node and packed for their way through the object store.

Every process that makes crops imports this, so neither it nor what it imports loads torch: a crop process then starts
in half the time and holds a third of the memory.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from swav_ray.data.bad_images import TooManyBadImages
from swav_ray.data.batch import Batch, BatchFailed
from swav_ray.data.batches import BatchMaker, SampleReader
from swav_ray.data.memory import ReusedMemory
from swav_ray.data.sample_plan import even_slice
from swav_ray.storage.place import StorageUnavailable

# The least that crops need beside training. More tasks than CPUs would fill the CPUs better, but Ray ends and starts
# their surplus processes all the time.
TASK_CPUS = 1.0


@dataclass(frozen=True, eq=False)
class Segment:
    """What a task needs to know of its segment: for every step positions in `SamplePlan.ids`, (steps, global batch).

    A block is a worker's slice of a step, or one of the `parts` of that slice. A task makes `task_blocks` blocks, one
    after the other.
    """

    start: int
    positions: np.ndarray
    workers: int
    parts: int
    task_blocks: int

    @property
    def blocks(self) -> int:
        return len(self.positions) * self.parts * self.workers

    @property
    def tasks(self) -> int:
        return -(-self.blocks // self.task_blocks)

    def blocks_of(self, task: int) -> range:
        return range(task * self.task_blocks, min((task + 1) * self.task_blocks, self.blocks))

    def rows_of(self, block: int) -> tuple[int, np.ndarray]:
        """The step of a block and the positions of its samples."""
        offset, rest = divmod(block, self.parts * self.workers)
        part, rank = divmod(rest, self.workers)
        own = self.positions[offset][even_slice(self.positions.shape[1], self.workers, rank)]
        return self.start + offset, own[even_slice(len(own), self.parts, part)]


def pack(batch: Batch) -> pa.Table:
    """One row, its arrays as bytes without a copy."""
    return pa.table(
        {
            "about": pa.array([batch.about()], pa.string()),
            "sample_ids": _as_bytes(batch.sample_ids),
            "pixels": _as_bytes(batch.pixels),
            "color": _as_bytes(batch.color),
            "failure": pa.array([None], pa.string()),
        }
    )


def _as_bytes(array: np.ndarray) -> pa.Array:
    ends = pa.py_buffer(np.array([0, array.nbytes], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(array)])


def unpack(row: pa.Table) -> Batch:
    """The inverse of `pack`: arrays are views of the object store's memory, which is read-only."""

    def view(name: str, dtype: type) -> np.ndarray:
        column = row[name].chunk(0)
        start, end = np.frombuffer(column.buffers()[1], np.int64, count=2, offset=8 * column.offset)
        return np.frombuffer(column.buffers()[2], np.uint8, count=end - start, offset=start).view(dtype)

    if (failure := row["failure"][0].as_py()) is not None:
        kind, _, message = failure.partition(": ")
        raise {"TooManyBadImages": TooManyBadImages, "StorageUnavailable": StorageUnavailable}.get(kind, BatchFailed)(
            message
        )
    about = row["about"][0].as_py()
    return Batch.of(about, view("sample_ids", np.int64), view("pixels", np.uint8), view("color", np.float32))


def _failure(kind: str, message: str) -> pa.Table:
    empty = _as_bytes(np.empty(0, np.uint8))
    failure = pa.array([f"{kind}: {' '.join(message.split())}"], pa.string())
    about = pa.array([None], pa.string())
    return pa.table({"about": about, "sample_ids": empty, "pixels": empty, "color": empty, "failure": failure})


_MEMORY = ReusedMemory()  # of this process, which runs one task at a time


def _make(maker: Any, segment: Any, task: int) -> Iterator[pa.Table]:
    """The task: its batches in order, each a block that is sent while the next one is made.

    `maker` and `segment` are references, read from the object store in place.
    """
    plan: Segment = ray.get(segment)
    batch_maker: BatchMaker = ray.get(maker)
    blocks = [plan.rows_of(block) for block in plan.blocks_of(task)]
    try:
        all_ids = batch_maker.plan.ids[np.concatenate([positions for _, positions in blocks])]
    except Exception as error:  # a part of a long list of samples that cannot be read
        yield from (_failed(step, error) for step, _ in blocks)
        return
    samples: SampleReader | None = batch_maker.reader(all_ids)
    ends = np.cumsum([len(positions) for _, positions in blocks])
    for (step, _), ids in zip(blocks, np.split(all_ids, ends[:-1]), strict=True):
        made = _block(batch_maker, step, ids, samples)
        if made["failure"][0].is_valid:
            samples = None  # its next sample is not the next block's
        yield made


def _block(maker: BatchMaker, step: int, ids: np.ndarray, samples: SampleReader | None) -> pa.Table:
    """A batch as a block. A failure is a block too: it reaches the worker at its step, in one line and with its type.

    An exception would end the segment with a traceback through Ray Data.
    """
    try:
        batch = maker.make(step, ids, _MEMORY, samples)
    except Exception as error:
        return _failed(step, error)
    return pack(dataclasses.replace(batch, made_on=(ray.get_runtime_context().get_node_id(),)))


def _failed(step: int, error: Exception) -> pa.Table:
    if isinstance(error, TooManyBadImages):
        return _failure("TooManyBadImages", str(error))
    if isinstance(error, StorageUnavailable):
        return _failure("StorageUnavailable", str(error))
    return _failure("BatchFailed", f"the crops of step {step} cannot be made: {type(error).__name__}: {error}")


class Crops(Datasource):
    """The batches of a segment as a data source of Ray Data.

    `ray.data.range` with a map would do the same, but it pickles a function by value for every task. That takes 2.6
    times the CPU time, and every start of a run waits for it.
    """

    def __init__(self, maker: Any, plan: Segment) -> None:
        super().__init__()
        self._make = functools.partial(_make, maker, ray.put(plan))
        self._plan = plan

    def get_name(self) -> str:
        return "Crops"

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:  # noqa: ARG002
        def task(index: int) -> ReadTask:
            about = BlockMetadata(
                num_rows=len(self._plan.blocks_of(index)), size_bytes=None, exec_stats=None, input_files=None
            )
            return ReadTask(functools.partial(self._make, index), about)

        return [task(index) for index in range(self._plan.tasks)]
