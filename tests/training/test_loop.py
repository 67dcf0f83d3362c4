"""The loop without Ray: when it saves, measures, polls and ends, and what it does with steps that are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.parts.small import small_config
from swav_ray.config import Config, replace
from swav_ray.data.batch import Batch
from swav_ray.data.quarantine import Quarantine
from swav_ray.data.sample_plan import SamplePlan, digest
from swav_ray.run.step_record import StepRecord
from swav_ray.storage.place import place
from swav_ray.training.control import Request
from swav_ray.training.learner import Diverged, Learner
from swav_ray.training.loop import Hooks, train

PLAN = SamplePlan(np.arange(24), 0, 8)


class World:
    """Records what the loop does, in order; requests what it is told to after a step, or before the first one (-1).

    While batches are late each further question counts as a step's.
    """

    def __init__(self, requests: dict[int, Request]) -> None:
        self.requests, self.asked = requests, -1
        self.done: list[tuple[Any, ...]] = []
        self.records: list[StepRecord] = []
        self.changed: list[int] = []
        self.measures_checkpoints = False
        self.late: Iterator[bool] = iter(())

    def request(self) -> Request:
        self.asked += 1
        return self.requests.get(self.asked - 1, Request.NONE)

    def poll(self) -> None:
        self.done.append(("poll",))

    def evaluate(self, step: int) -> float:
        self.done.append(("evaluate", step))
        return 10.0 + step


def batches(config: Config, count: int) -> Iterator[Batch]:
    for step, ids in enumerate(PLAN.batches(0, count)):
        rng = np.random.default_rng(step)
        pixels = rng.integers(0, 255, 3 * 8 * config.crops.pixels, dtype=np.uint8)
        yield make_batch(step, ids, pixels)


def make_batch(step: int, ids: np.ndarray, pixels: np.ndarray) -> Batch:
    return Batch(
        step=step,
        sample_ids=ids,
        pixels=pixels,
        color=np.zeros(0, np.float32),
        bad=[],
        seconds=0.1,
        bytes_read=10,
        retries=0,
        changed=step % 2,
    )


def go(
    tmp_path: Path,
    config: Config,
    requests: dict[int, Request],
    *,
    bad: tuple[int, ...] = (),
    world: World | None = None,
) -> tuple[World, Any]:
    world = world or World(requests)
    learner = Learner(config, PLAN.steps_per_epoch)
    whole_step, whole_loss = learner.step, learner._loss

    def step(crops: Any, step: int) -> Any:
        factor = np.nan if step in bad else 1
        learner._loss = lambda *given, **how: whole_loss(*given, **how) * factor  # type: ignore[method-assign]
        result = whole_step(crops, step)
        learner._loss = whole_loss  # type: ignore[method-assign]
        return result

    learner.step = step  # type: ignore[method-assign]
    hooks = Hooks(
        record=world.records.append,
        save=lambda step, top1, wait: world.done.append(("save", step, top1, wait)),
        evaluate=world.evaluate,
        measures_checkpoints=lambda: world.measures_checkpoints,
        request=world.request,
        poll=world.poll,
        ready=lambda _: next(world.late, True),
        usage=lambda: {"object_store_bytes": 7.0},
        quarantine=Quarantine(place(tmp_path), 24, 0.0, writes=False),
        changed=world.changed.append,
    )
    end = config.train.epochs * PLAN.steps_per_epoch
    return world, train(learner, batches(config, end), hooks, start=0, end=end)


def test_saves_each_epoch_without_waiting_and_waits_for_the_last(tmp_path: Path) -> None:
    world, result = go(tmp_path, small_config(), {})
    assert result == (12, Request.NONE)
    assert world.done == [
        ("save", 3, None, False),
        ("save", 6, None, False),
        ("save", 9, None, False),
        ("save", 12, None, True),
    ]
    assert [record.ids for record in world.records] == [digest(ids) for ids in PLAN.batches(0, 12)]


def test_images_that_were_written_since_they_were_listed_are_counted_step_by_step(tmp_path: Path) -> None:
    world, _ = go(tmp_path, small_config(), {})
    assert world.changed == [1] * 6


def test_an_accuracy_goes_with_the_checkpoint_of_its_state(tmp_path: Path) -> None:
    config = small_config(eval={"knn_every_epochs": 1}, checkpoint={"every_epochs": 2.0, "keep_best": 1})
    world, _ = go(tmp_path, config, {})
    assert world.done[:4] == [("evaluate", 3), ("save", 3, 13.0, False), ("evaluate", 6), ("save", 6, 16.0, False)]


def test_a_state_that_is_measured_from_its_checkpoint_is_saved(tmp_path: Path) -> None:
    config = small_config(eval={"knn_every_epochs": 1}, checkpoint={"every_epochs": 4.0})
    world = World({})
    world.measures_checkpoints = True
    go(tmp_path, config, {}, world=world)
    assert [one[1] for one in world.done if one[0] == "save"] == [3, 6, 9, 12]


def test_what_is_kept_is_saved_even_if_the_interval_misses_it(tmp_path: Path) -> None:
    config = small_config(checkpoint={"every_epochs": 4 / 3, "keep_every_epochs": 1})
    world, _ = go(tmp_path, config, {})
    assert [one[1] for one in world.done] == [3, 4, 6, 8, 9, 12]


@pytest.mark.parametrize("request_", [Request.STOP, Request.RESIZE, Request.LEAVE])
def test_ends_after_the_step_with_a_durable_checkpoint(tmp_path: Path, request_: Request) -> None:
    world, result = go(tmp_path, small_config(), {4: request_})
    assert result == (5, request_)
    assert world.done[-1] == ("save", 5, None, True)
    assert len(world.records) == 5


def test_a_notice_is_answered_by_a_durable_checkpoint_and_training_continues(tmp_path: Path) -> None:
    world, result = go(tmp_path, small_config(), {1: Request.POLL, 4: Request.SAVE})
    assert result == (12, Request.NONE)
    assert world.done[:3] == [("poll",), ("save", 3, None, False), ("save", 5, None, True)]


def test_workers_that_wait_for_batches_hear_of_a_notice_and_leave_in_time(tmp_path: Path) -> None:
    # The batch of step 3 does not come: the questions after the one of step 2 are asked while waiting.
    world = World({3: Request.POLL, 4: Request.SAVE, 5: Request.LEAVE})
    world.late = iter([True, True, True, False, False, False, False])
    _, result = go(tmp_path, small_config(), {}, world=world)
    assert result == (3, Request.LEAVE)
    assert len(world.records) == 3
    assert world.done == [("save", 3, None, False), ("poll",), ("save", 3, None, True), ("save", 3, None, True)]


def test_workers_whose_first_batch_does_not_come_can_be_stopped(tmp_path: Path) -> None:
    world = World({1: Request.STOP})
    world.late = iter([False, False, False])
    _, result = go(tmp_path, small_config(), {}, world=world)
    assert result == (0, Request.STOP)
    assert world.done == [("save", 0, None, True)]


def test_late_batches_are_waited_for(tmp_path: Path) -> None:
    world = World({})
    world.late = iter([False, False, True, False, False, True, False])
    _, result = go(tmp_path, small_config(), {}, world=world)
    assert result == (12, Request.NONE)
    assert len(world.records) == 12


def test_a_refused_step_is_logged_with_its_images_and_counts_as_done(tmp_path: Path) -> None:
    world, result = go(tmp_path, small_config(), {}, bad=(4,))
    assert result == (12, Request.NONE)
    refused = [record for record in world.records if record.refused]
    assert [record.step for record in refused] == [4]
    assert refused[0].loss is None
    assert sorted(refused[0].sample_ids) == sorted(PLAN.batches(4, 5)[0].tolist())
    assert len(world.records) == 12


def test_past_the_budget_the_run_ends_with_its_good_state_saved(tmp_path: Path) -> None:
    config = replace(small_config(), train={"max_refused_steps": 1})
    with pytest.raises(
        Diverged, match=r"step 7 was refused, the loss is nan, as 1 before it; train.max_refused_steps = 1"
    ):
        go(tmp_path, config, {}, bad=(4, 7))


@pytest.mark.parametrize("every", [1 / 3, 1.0])
def test_weights_that_an_accepted_step_blew_up_are_never_saved(tmp_path: Path, every: float) -> None:
    config = replace(
        small_config(),
        optim={"base_lr": 1e30, "start_warmup_lr": 0.0},
        train={"max_refused_steps": 100},
        checkpoint={"every_epochs": every},
    )
    world = World({})
    with pytest.raises(Diverged, match=r"step 1 blew up the weights: after it, on its own images, the loss.*the last"):
        go(tmp_path, config, {}, world=world)
    assert not world.records[1].refused
    assert world.done == ([("save", 1, None, False)] if every < 1 else [])


def test_a_state_is_good_although_the_batch_after_it_is_not(tmp_path: Path) -> None:
    world, result = go(tmp_path, small_config(), {}, bad=(2, 5, 11))
    assert result == (12, Request.NONE)
    assert [one[1] for one in world.done] == [3, 6, 9, 12]
