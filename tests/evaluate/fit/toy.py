"""An evaluation that trains a line through made-up points in milliseconds, and its worker in this process."""

# ruff: noqa: ARG002  (protocols name arguments that a toy does not need)

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from swav_ray.data.batch import Batch
from swav_ray.evaluate.fit import worker
from swav_ray.evaluate.fit.task import Fit, State
from swav_ray.evaluate.fit.worker import Saves
from swav_ray.evaluate.results.judged import Judged
from swav_ray.evaluate.results.protocol import Figure, Protocol
from swav_ray.run.messages import Message
from swav_ray.storage.place import Place
from swav_ray.training.control import Preemption, Request
from swav_ray.training.distributed import World

STEPS, STEPS_PER_EPOCH = 9, 3


def batch_of(step: int, rows: slice) -> Batch:
    """Four samples a step, of which this worker has `rows`."""
    ids = np.arange(4 * step, 4 * step + 4)[rows]
    empty = np.empty(0, np.uint8)
    return Batch(step, ids, empty, np.empty(0, np.float32), [], 0.0, 0, 0)


class Feed:
    def __init__(self, start: int, end: int, rows: slice) -> None:
        self._batches = iter([batch_of(step, rows) for step in range(start, end)])
        self.step = start - 1  # given last
        self.closed = False

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch = next(self._batches)
        self.step = batch.step
        return batch

    def ready(self, seconds: float) -> bool:
        return True

    def usage(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        self.closed = True


class Line:
    """Momentum SGD of y = w x on points that follow from their ids."""

    steps, steps_per_epoch, images, max_bad_fraction = STEPS, STEPS_PER_EPOCH, 4 * STEPS, 0.0

    def __init__(self, world: World) -> None:
        self._world = world
        self.weight, self.momentum = torch.zeros(1), torch.zeros(1)

    def state(self) -> State:
        return State({"weight": self.weight, "momentum": self.momentum}, {"slope": 3})

    def load_state(self, state: State) -> None:
        assert state.progress == {"slope": 3}
        self.weight, self.momentum = state.tensors["weight"], state.tensors["momentum"]

    def feed(self, coordinator: Any, world: World, start: int, end: int) -> Feed:
        coordinator.given = Feed(start, end, world.own_slice(4))
        return coordinator.given

    def step(self, index: int, batch: Batch) -> Mapping[str, float]:
        x = torch.from_numpy(np.sin(batch.sample_ids)).float()
        error = x * self.weight - 3 * x
        sums = self._world.sum(torch.stack([(error * x).sum(), (error**2).sum()]))
        self.momentum = 0.9 * self.momentum + sums[:1] / 4
        self.weight = self.weight - 0.3 * self.momentum
        return {"loss": float(sums[1]) / 4}

    def judge(self, epochs: int) -> Mapping[str, Any]:
        return {"weight": float(self.weight)}

    def finish(self) -> dict[str, Any]:
        return {"weight": float(self.weight)}


class LineFit:
    protocol = Protocol(name="line", version=1, settings={}, source="tests")
    epochs = STEPS // STEPS_PER_EPOCH
    notes: Sequence[str] = ()

    def task(self, device: torch.device, world: World) -> Line:
        return Line(world)

    def judged(self, finished: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Judged:
        return Judged(figures={"weight": Figure(value=finished["weight"], unit="")}, picture=b"")


class InProcess:
    """The Coordinator of training/coordinator.py: requests what it is told to after a step; remembers what it hears."""

    device = torch.device("cpu")

    def __init__(self, requests: Mapping[int, Request] | None = None) -> None:
        self._requests = requests or {}
        self.events: list[Message | str] = []
        self.reason, self.failures = "", []
        self.given: Any = None

    def given_up(self) -> str:
        return self.reason

    def begin(self, step: int) -> str:
        self.events.append(f"begin {step}")
        return ""

    def request(self) -> Request:
        return self._requests.get(self.given.step, Request.NONE) if self.given else Request.NONE

    def preemption(self) -> Preemption | None:
        return None

    def report(self, message: Message) -> None:
        self.events.append(message)

    def saved(self) -> None:
        self.events.append("saved")

    def feed(self, maker: Any, world: World, start: int, end: int) -> Any:
        raise NotImplementedError

    def wait_to_be_ended(self, seconds: float) -> None:
        self.events.append("wait")

    def give_up(self, reason: str) -> None:
        self.reason = reason

    def note_failure(self, why: str) -> None:
        self.failures.append(why)


def run(
    folder: Place,
    requests: Mapping[int, Request] | None = None,
    *,
    fit: Fit | None = None,
    saves: Saves | None = None,
    world: World | None = None,
) -> InProcess:
    """Runs a worker; what it told its coordinator."""
    coordinator = InProcess(requests)
    worker.run(fit or LineFit(), folder, coordinator, saves or Saves(steps=2), world=world)
    return coordinator
