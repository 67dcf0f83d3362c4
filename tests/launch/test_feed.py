"""The feed: the plan's batches in the plan's order, from any node, across segments, with a bounded prefetch."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import ray
import ray.data
import ray.train
import ray.train.torch
from ray.cluster_utils import Cluster

from swav_ray.config import AugmentConfig, CropsConfig
from swav_ray.data import crop_blocks, manifest
from swav_ray.data.bad_images import TooManyBadImages
from swav_ray.data.batch import Batch, BatchFailed
from swav_ray.data.batches import BatchMaker
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.launch import feed as feeds
from swav_ray.launch.feed import Feed, release_earlier_segments
from swav_ray.launch.ray_internals import coordinator
from swav_ray.launch.ray_internals.environment import METADATA_INLINE
from swav_ray.launch.ray_internals.whole_tasks import run_to_their_end
from swav_ray.launch.segment_reader import PREFETCH
from swav_ray.storage.place import StorageUnavailable
from swav_ray.training.distributed import World
from tests.data.test_batches import write_images

pytestmark = pytest.mark.ray
CROPS = CropsConfig(sizes=(64, 8), counts=(2, 3), min_scales=(0.3, 0.1), max_scales=(1.0, 0.4))
BATCH_BYTES = 7 * (2 * 64**2 + 3 * 8**2) * 3
STORE_BYTES = 80_000_000


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A head with one CPU, where this process and the training workers are; nodes can be added."""
    head = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "resources": {"head": 8}}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def maker_of(folder: Path, *, broken: tuple[int, ...] = (), kind: type[BatchMaker] = BatchMaker) -> BatchMaker:
    """Seven images a batch, three batches an epoch."""
    write_images(folder, 23, broken)
    found = manifest.build(str(folder))
    plan = SamplePlan(found.train_ids(), 0, 7)
    return kind(found, plan, MultiCrop(CROPS, AugmentConfig(color_device="train"), 0))


def assert_is_planned(batch: Batch, maker: BatchMaker, step: int) -> None:
    (ids,) = maker.plan.batches(step, step + 1)
    expected = maker.make(step, ids)
    assert batch.step == step
    assert np.array_equal(batch.sample_ids, ids)
    assert np.array_equal(batch.pixels, expected.pixels)
    assert np.array_equal(batch.color, expected.color)


def test_batches_are_the_plans_across_segments_and_epochs_in_parts_or_whole(
    nodes: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = maker_of(tmp_path)
    for part_bytes in (crop_blocks.PART_BYTES, BATCH_BYTES // 3):
        monkeypatch.setattr(crop_blocks, "PART_BYTES", part_bytes)
        feed = Feed(maker, World(), 2, 13, segment_blocks=9, lead_blocks=4, handover_blocks=2)
        for step, batch in zip(range(2, 13), feed, strict=True):
            assert_is_planned(batch, maker, step)
            assert len(batch.made_on) == 1


@pytest.mark.slow
def test_two_workers_and_one_cpu_for_crops_pass_from_segment_to_segment(nodes: Cluster, tmp_path: Path) -> None:
    """Training leaves one CPU to Ray Data, for two segments at a time."""
    maker = maker_of(tmp_path)

    def run() -> None:
        world = World(ray.train.get_context().get_world_rank(), 2)
        feed = Feed(maker, world, 0, 20, segment_blocks=12, lead_blocks=4, handover_blocks=4)
        for step, batch in enumerate(feed):
            (ids,) = maker.plan.batches(step, step + 1)
            assert batch.sample_ids.tolist() == ids[world.own_slice(7)].tolist()
        assert step == 19

    scaling = ray.train.ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0, "head": 1})
    stored = ray.train.RunConfig(name="two", storage_path=str(tmp_path / "ray"))
    ray.train.torch.TorchTrainer(run, scaling_config=scaling, run_config=stored).fit()


class Noted(BatchMaker):
    """Leaves a file for each batch that it makes, with the process that made it and its threads."""

    def make(self, step: int, sample_ids: np.ndarray, *how: Any) -> Batch:
        batch = super().make(step, sample_ids, *how)
        (Path(self.manifest.root).parent / f"made-{step}").write_text(f"{os.getpid()} {self.threads}")
        return batch


def test_the_next_epoch_is_made_while_this_one_trains_and_by_the_same_processes(
    nodes: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve epochs of three steps in two segments: the first batch of each is there before it is needed."""
    monkeypatch.setattr(crop_blocks, "TASK_BLOCKS", 2)  # 18 tasks
    (tmp_path / "images").mkdir()
    maker = maker_of(tmp_path / "images", kind=Noted)
    feed = Feed(maker, World(), 0, 36, segment_blocks=18, lead_blocks=6, handover_blocks=3)
    for step in range(36):
        assert next(feed).step == step
        if step % 3 == 2 and step < 35:
            following, end = tmp_path / f"made-{step + 1}", time.monotonic() + 60
            while not following.exists() and time.monotonic() < end:
                time.sleep(0.05)
            assert following.exists(), f"the epoch from step {step + 1} on is not made while this one trains"
    assert len({(tmp_path / f"made-{step}").read_text() for step in range(36)}) <= 2  # the segments may have one each


@pytest.mark.parametrize(("training_cpus", "threads"), [(0.4, "1"), (0.5, "2")])
def test_a_task_has_a_second_thread_if_training_holds_half_of_the_cpus(
    nodes: Cluster, tmp_path: Path, training_cpus: float, threads: str
) -> None:
    (tmp_path / "images").mkdir()
    feed = Feed(maker_of(tmp_path / "images", kind=Noted), World(), 0, 1, training_cpus=training_cpus)
    next(feed)
    feed.close()
    assert (tmp_path / "made-0").read_text().split()[1] == threads


def test_a_slow_trainer_bounds_what_is_prefetched(nodes: Cluster, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    maker = maker_of(tmp_path / "images", kind=Noted)

    def made() -> int:
        return len(list(tmp_path.glob("made-*")))

    def made_in_the_end() -> int:
        count, since = -1, time.monotonic()
        while time.monotonic() - since < 3:
            if made() != count:
                count, since = made(), time.monotonic()
            time.sleep(0.1)
        return count

    feed = Feed(maker, World(), 0, 3000)
    for _ in range(3):
        next(feed)
    # A fraction of the store, what runs on the CPUs when that is full, and what the worker holds ready.
    bound = feeds.STORE_FRACTION * STORE_BYTES / BATCH_BYTES + 2 + 2 * PREFETCH + 2
    assert bound < 200
    assert PREFETCH < made_in_the_end() - 3 <= bound
    for step in range(3, 400):
        assert next(feed).step == step
    assert made_in_the_end() - 400 <= bound
    assert feed.usage()["object_store_bytes"] <= STORE_BYTES
    feed.close()


def test_added_nodes_make_crops_and_a_lost_one_costs_no_batch(nodes: Cluster, tmp_path: Path) -> None:
    maker = maker_of(tmp_path)
    feed = Feed(maker, World(), 0, 3000)
    assert {name for _ in range(20) for name in next(feed).made_on} == {ray.get_runtime_context().get_node_id()}
    added = nodes.add_node(num_cpus=2, object_store_memory=STORE_BYTES)
    step, helped = 20, 0
    while helped < 20 and step < 2000:
        helped += added.node_id in next(feed).made_on
        step += 1
    assert helped == 20, "the node with CPUs only made no crops"
    # It still holds prefetched batches: they are made again elsewhere.
    nodes.remove_node(added, allow_graceful=False)
    for later in range(step, step + 300):
        assert_is_planned(next(feed), maker, later)
    assert feed.usage()["crop_nodes"] >= 1
    feed.close()


def test_a_task_makes_all_of_its_blocks_and_ends_though_nobody_takes_one(nodes: Cluster, tmp_path: Path) -> None:
    context, blocks = ray.data.DataContext(), 4
    run_to_their_end(context, blocks)
    room = 2 * context._max_num_blocks_in_streaming_gen_buffer  # a block and its metadata are two objects

    @ray.remote(num_returns="streaming", _generator_backpressure_num_objects=room)
    def task() -> Iterator[int]:
        for made in range(2 * blocks):  # noqa: UP028  Ray sends to the generator; a range takes nothing
            yield made
        (tmp_path / "ended").touch()

    held = task.remote()
    end = time.monotonic() + 60
    while not (tmp_path / "ended").exists():
        assert time.monotonic() < end, "the task waits, and keeps its CPU"
        time.sleep(0.05)
    del held


class Broken(BatchMaker):
    error: Exception

    def make(self, step: int, sample_ids: np.ndarray, *how: Any) -> Batch:
        if step == 4:
            raise self.error
        return super().make(step, sample_ids, *how)


class Buggy(Broken):
    error = KeyError("colour\nof a crop")


class Offline(Broken):
    error = StorageUnavailable("s3://b/k: no answer for 180 s")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Buggy, BatchFailed(r"the crops of step 4 cannot be made: KeyError: 'colour\nof a crop'")),
        (Offline, StorageUnavailable("s3://b/k: no answer for 180 s")),
    ],
)
def test_a_failure_reaches_the_trainer_at_its_step_in_one_line(
    nodes: Cluster, tmp_path: Path, kind: type[BatchMaker], expected: Exception
) -> None:
    feed = Feed(maker_of(tmp_path, kind=kind), World(), 0, 9)
    assert [next(feed).step for _ in range(4)] == [0, 1, 2, 3]
    # A name for the error would hold the feed until the garbage collector ran.
    with pytest.raises(type(expected), match=f"^{re.escape(str(expected))}$"):
        next(feed)
    feed.close()


def test_images_that_all_are_unreadable_are_reported_as_such(nodes: Cluster, tmp_path: Path) -> None:
    feed = Feed(maker_of(tmp_path, broken=tuple(range(23))), World(), 0, 3)
    with pytest.raises(TooManyBadImages, match="17 images in a row cannot be read"):
        next(feed)
    feed.close()


def test_a_closed_feed_leaves_nothing_running(nodes: Cluster, tmp_path: Path) -> None:
    feed = Feed(maker_of(tmp_path), World(), 0, 3000)
    next(feed)
    feed.close()
    end = time.monotonic() + 60
    while (segment_processes() or taken_cpus()) and time.monotonic() < end:
        time.sleep(0.1)
    assert segment_processes() == []
    assert taken_cpus() == 0


def taken_cpus() -> float:
    return float(ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0.0))


def segment_processes() -> list[int]:
    """Ids of the processes that schedule the segments of live feeds."""
    actors: dict[str, Any] = ray._private.state.actors()
    return [a["Pid"] for a in actors.values() if a["State"] == "ALIVE" and "SplitCoordinator" in a["ActorClassName"]]


@ray.remote(num_cpus=0, runtime_env={"env_vars": METADATA_INLINE})
class TrainingWorker:
    """What a training worker is to its feed."""

    def __init__(self, maker: BatchMaker, owner: str) -> None:
        self._feed = Feed(maker, World(), 0, 3000, owner=owner)

    def step(self) -> int:
        return next(self._feed).step


def reserved_for(owner: str) -> list[str]:
    return coordinator.requesters(coordinator.data_requester(feeds._name(owner)))


def test_what_a_killed_worker_had_reserved_for_crops_is_released_for_the_next_one(
    nodes: Cluster, tmp_path: Path
) -> None:
    maker = maker_of(tmp_path)
    killed = TrainingWorker.remote(maker, "run")
    assert ray.get(killed.step.remote()) == 0
    before = reserved_for("run")
    assert len(before) == 1
    ray.kill(killed)
    release_earlier_segments("another run")
    assert reserved_for("run") == before
    release_earlier_segments("run")
    assert reserved_for("run") == []
    # The cluster has one CPU: half of it would be none, and the next feed would wait.
    restarted = TrainingWorker.remote(maker, "run")
    assert ray.get(restarted.step.remote(), timeout=120) == 0
    ray.kill(restarted)
    release_earlier_segments("run")


def test_the_process_that_schedules_a_segment_inherits_the_workers_environment(nodes: Cluster, tmp_path: Path) -> None:
    before = segment_processes()
    worker = TrainingWorker.remote(maker_of(tmp_path), "environment")
    assert ray.get(worker.step.remote()) == 0
    (process,) = set(segment_processes()) - set(before)
    assert psutil.Process(process).environ().items() >= METADATA_INLINE.items()
    ray.kill(worker)
    release_earlier_segments("environment")


def test_a_coordinator_whose_books_have_moved_is_no_slow_restart_but_an_error(
    nodes: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = ray.remote(num_cpus=0)(SimpleNamespace).remote()
    monkeypatch.setattr(coordinator, "get_or_create_autoscaling_coordinator", lambda: books)
    with pytest.raises(ray.exceptions.RayTaskError, match="_ongoing_reqs"):
        release_earlier_segments("anyone")
