"""A segment's blocks are the plan's slices; a crop task makes its blocks one by one, and prefetches for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swav_ray.data import batches
from swav_ray.data.batch import Batch, BatchFailed
from swav_ray.data.batches import SampleReader
from swav_ray.launch import crop_task as crops
from swav_ray.launch.crop_task import Segment, unpack
from swav_ray.storage.place import PlaceError, StorageUnavailable


@given(
    batch=st.integers(1, 50),
    workers=st.integers(1, 8),
    parts=st.integers(1, 5),
    steps=st.integers(1, 4),
    task_blocks=st.integers(1, 9),
)
def test_blocks_dealt_round_robin_give_every_worker_its_slice(
    batch: int, workers: int, parts: int, steps: int, task_blocks: int
) -> None:
    ids = np.arange(steps * batch).reshape(steps, batch)
    segment = Segment(10, ids, workers, parts, task_blocks)
    made = [block for task in range(segment.tasks) for block in segment.blocks_of(task)]
    assert made == list(range(segment.blocks))
    dealt: dict[int, list[tuple[int, np.ndarray]]] = {rank: [] for rank in range(workers)}
    for block in made:
        dealt[block % workers].append(segment.rows_of(block))
    for step in range(steps):
        of_step = [rows for rank in range(workers) for at, rows in dealt[rank] if at == 10 + step]
        assert np.array_equal(np.concatenate(of_step), ids[step])
    assert all([step for step, _ in of_rank] == sorted(step for step, _ in of_rank) for of_rank in dealt.values())


class Maker:
    """Takes its samples as a BatchMaker does; a sample is its own id. One step fails after its first sample."""

    manifest = None

    def __init__(self, fails: int, ids: Any = None) -> None:
        self._fails = fails
        self.plan = SimpleNamespace(ids=np.arange(30) if ids is None else ids)

    def reader(self, sample_ids: np.ndarray) -> SampleReader:
        return SampleReader(self.manifest, sample_ids)

    def make(self, step: int, sample_ids: np.ndarray, memory: Any, samples: SampleReader | None) -> Batch:
        taken = iter(sample_ids.tolist()) if samples is None else samples.take(len(sample_ids))
        found = [next(taken)]
        if step == self._fails:
            raise StorageUnavailable("gone")
        found += taken
        pixels = memory.take(len(found))
        pixels[:] = found
        return Batch(step, sample_ids, pixels, np.empty(0, np.float32), [], 0.0, 0, 0)


def test_a_failure_in_one_block_leaves_the_next_ones_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[int]] = []

    def read_samples(_: None, ids: np.ndarray, _cache: None) -> Iterator[int]:
        read.append(ids.tolist())
        return iter(ids.tolist())

    monkeypatch.setattr(batches, "read_samples", read_samples)
    monkeypatch.setattr(crops.ray, "get", lambda value: value)
    monkeypatch.setattr(crops.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "here"))
    ids = np.arange(30, dtype=np.int64).reshape(5, 6)
    segment = Segment(10, ids, workers=2, parts=1, task_blocks=6)
    rows = list(crops._make(Maker(fails=11), segment, 0))
    assert read == [ids[:3].ravel().tolist()]  # what the task makes, and nothing of the next task's
    for block, row in enumerate(rows):
        step, planned = segment.rows_of(block)
        if step == 11:
            with pytest.raises(StorageUnavailable, match="gone"):
                unpack(row)
            continue
        batch = unpack(row)
        assert (batch.step, batch.made_on) == (step, ("here",))
        assert batch.pixels.tolist() == batch.sample_ids.tolist() == planned.tolist()


class Gone:
    """Ids of which a part of the list cannot be read."""

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        raise PlaceError("/runs/_data/manifests/0001.parquet: a part of the list of images is missing")


def test_a_part_of_the_list_that_is_missing_fails_each_step_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops.ray, "get", lambda value: value)
    segment = Segment(10, np.arange(12).reshape(2, 6), workers=1, parts=1, task_blocks=6)
    rows = list(crops._make(Maker(fails=-1, ids=Gone()), segment, 0))
    assert len(rows) == 2
    for step, row in enumerate(rows, 10):
        with pytest.raises(BatchFailed, match=f"crops of step {step} cannot be made: PlaceError: /runs.*is missing$"):
            unpack(row)
