"""Parts that Ray makes: each of them once a node has gone and another has come, and failures in one line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from swav_ray.features.parts import Parts
from swav_ray.launch import parts
from swav_ray.launch.parts import make
from swav_ray.storage.place import Place, place

pytestmark = pytest.mark.ray


WAITING = 21  # the second part of the task that is lost


def wait_until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 120
    while not true():
        assert time.monotonic() < limit


class Mistake(ValueError):
    pass


@dataclass(frozen=True)
class Read:
    part: int
    crops: np.ndarray


class Numbers:
    """Part i of a table is i; what is wrong is told by the place. From WAITING on they wait for the file `moved`."""

    mistake = Mistake

    def __init__(self, folder: Place, count: int) -> None:
        self.parts = Parts(folder, count, 1)

    @property
    def moved(self) -> Place:
        return self.parts.folder.parent / "moved"

    def read(self, part: int, threads: int) -> Read:  # noqa: ARG002
        if (self.parts.folder / "gone").exists() and part == 3:
            raise Mistake("the images have vanished")
        if (self.parts.folder / "full").exists() and part == 3:
            raise OSError(28, "No space left\non device")
        wait_until(lambda: part < WAITING or self.moved.exists())
        return Read(part, np.zeros((2, 3), np.uint8))

    def images(self, part: int) -> int:  # noqa: ARG002
        return 1

    def is_made(self, part: int) -> bool:
        return self.parts.has(part)

    def write(self, read: Read, device: torch.device) -> None:
        assert read.crops.shape == (2, 3)
        row = {"i": read.part, "node": ray.get_runtime_context().get_node_id(), "device": device.type}
        self.parts.write(read.part, pa.Table.from_pylist([row]))


@pytest.fixture
def nodes() -> Iterator[Cluster]:
    """A head without CPUs, where this process is, and one node."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
def test_failures_are_one_line_and_a_node_that_goes_while_another_comes_costs_no_part(
    nodes: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_TASK_SECONDS", 1e6)  # tasks of 1, 19, 10 and fewer parts
    work = Numbers(place(tmp_path / "t"), 40)
    for name, error, told in (
        ("gone", Mistake, "^the images have vanished$"),
        ("full", OSError, r"^\[Errno 28\] No space left on device$"),
    ):
        (work.parts.folder / name).write_bytes(b"")
        with pytest.raises(error, match=told):
            make(work, [3], lambda _: None)
        (work.parts.folder / name).delete()

    def change(done: int) -> None:
        if done == 5:
            wait_until(lambda: work.parts.has(WAITING - 1))
            (first,) = nodes.worker_nodes
            nodes.add_node(num_cpus=2)
            nodes.remove_node(first, allow_graceful=False)
            work.moved.write_bytes(b"")

    make(work, work.parts.missing(), change)
    rows = [work.parts.read(part).to_pylist()[0] for part in range(40)]
    assert [row["i"] for row in rows] == list(range(40))
    there, then = rows[0]["node"], rows[-1]["node"]
    assert there != then
    assert [row["node"] for row in rows[:WAITING]] == [there] * WAITING  # the second node made none of them again
    assert {row["device"] for row in rows} == {"cpu"}

    nodes.add_node(num_cpus=1, num_gpus=1)  # Ray counts it; nothing here computes on it
    work = Numbers(place(tmp_path / "gpu"), 10)
    done: list[int] = []
    make(work, work.parts.missing(), done.append)
    assert [work.parts.read(part).to_pylist()[0]["device"] for part in range(10)] == ["cuda"] * 10
    assert done[-1] == 10
