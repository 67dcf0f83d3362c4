"""The queue of measurements beside training: one at a time, in order, tried again a few times, never waited for."""

from __future__ import annotations

from swav_ray.measuring.beside import Beside, TaskFailed
from swav_ray.run.measurements import Figures


class World:
    """Checkpoints and tasks, by step; remembers what was started, ended and given up."""

    def __init__(self) -> None:
        self.written: dict[int, bool] = {}
        self.done: dict[int, Figures | str] = {}  # the figures of a task, or what it fails with
        self.started: list[int] = []
        self.cancelled: list[int] = []
        self.left_out: list[tuple[int, str]] = []
        self.beside = Beside(self.start, self.written.get, lambda step, why: self.left_out.append((step, why)))

    def start(self, step: int) -> Task:
        self.started.append(step)
        return Task(self, step)


class Task:
    def __init__(self, world: World, step: int) -> None:
        self._world, self._step = world, step

    def poll(self) -> Figures | None:
        found = self._world.done.get(self._step)
        if isinstance(found, str):
            raise TaskFailed(found)
        return found

    def cancel(self) -> None:
        self._world.cancelled.append(self._step)


def test_a_step_is_measured_once_its_checkpoint_is_written() -> None:
    world = World()
    world.beside.add(3)
    assert world.beside.poll() is None
    assert world.started == []
    world.written[3] = True
    assert world.beside.poll() is None
    assert world.started == [3]
    world.done[3] = {"knn_top1": 50.0}
    assert world.beside.poll() == (3, {"knn_top1": 50.0})
    assert world.beside.poll() is None
    assert world.started == [3]


def test_steps_are_measured_one_at_a_time_in_their_order() -> None:
    world = World()
    world.written |= {3: True, 6: True}
    world.beside.add(3)
    world.beside.add(6)
    world.done[6] = {}
    assert world.beside.poll() is None
    assert world.started == [3]
    world.done[3] = {}
    assert [world.beside.poll(), world.beside.poll()] == [(3, {}), (6, {})]


def test_two_that_wait_are_enough() -> None:
    world = World()
    world.beside.add(3)
    assert not world.beside.full
    world.beside.add(6)
    assert world.beside.full


def test_a_task_that_fails_is_started_again_and_given_up_after_three() -> None:
    world = World()
    world.written |= {3: True, 6: True}
    world.done |= {3: "the node is gone", 6: {}}
    world.beside.add(3)
    world.beside.add(6)
    assert [world.beside.poll() for _ in range(3)] == [None, None, None]
    assert world.left_out == [(3, "its task failed 3 times, last with: the node is gone")]
    assert world.beside.poll() == (6, {})
    assert world.started == [3, 3, 3, 6]


def test_the_tries_of_one_step_are_not_those_of_the_next() -> None:
    world = World()
    world.written |= {3: True, 6: True}
    world.done |= {3: "killed", 6: "killed"}
    for step in (3, 6):
        world.beside.add(step)
        world.beside.poll()
        world.beside.poll()
        world.done[step] = {}
        assert world.beside.poll() == (step, {})
    assert world.left_out == []


def test_a_checkpoint_that_never_comes_is_told() -> None:
    world = World()
    world.written[3] = False
    world.beside.add(3)
    assert world.beside.poll() is None
    ((step, why),) = world.left_out
    assert step == 3
    assert "storage was too slow" in why


def test_what_is_not_measured_is_handed_over_and_its_task_ended() -> None:
    world = World()
    world.written[3] = True
    world.beside.add(3)
    world.beside.add(6)
    world.beside.poll()
    assert world.beside.cancel() == [3, 6]
    assert world.cancelled == [3]
    assert world.beside.cancel() == []
