"""A run of the real worker in this process, without Ray: made-up images, whole batches from memory, a net that trains
in milliseconds."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace as with_fields
from pathlib import Path
from typing import Any

import torch

from benchmarks.parts.small import small_config
from swav_ray import worker
from swav_ray.config import Config
from swav_ray.data import manifest as manifests
from swav_ray.data.bad_images import BadImage
from swav_ray.data.batch import Batch
from swav_ray.data.batches import BatchMaker
from swav_ray.data.formats.rows import Rows
from swav_ray.data.manifest import Manifest
from swav_ray.evaluate.in_training.measurer import Measurer
from swav_ray.evaluate.in_training.probe import Knn
from swav_ray.measuring.beside import Start
from swav_ray.measuring.checkpoints import measure
from swav_ray.model.swav import SwAVModel
from swav_ray.run.layout import MANIFEST
from swav_ray.run.measurements import Figures
from swav_ray.run.messages import Message
from swav_ray.storage.place import Place, place
from swav_ray.training.control import Preemption, Request
from swav_ray.training.distributed import World
from tests.training.test_loop import PLAN, batches

EPOCHS = 2
STEPS = EPOCHS * PLAN.steps_per_epoch
BAD = {1: 4, 3: 17}  # by step, an image of its batch that cannot be read


def tiny(**sections: dict[str, object]) -> Config:
    """Six steps, measured after each epoch of three, saved after every second one."""
    mine: dict[str, dict[str, object]] = {
        "data": {"max_bad_fraction": 0.1},
        "train": {"epochs": EPOCHS},
        "checkpoint": {"every_epochs": 0.67, "keep_last": 2},
        "eval": {"knn_every_epochs": 1, "label_free_images": 0},
    }
    return small_config(**{name: mine.get(name, {}) | sections.get(name, {}) for name in mine.keys() | sections.keys()})


def make_run(folder: Path) -> Place:
    """A run directory as the launcher leaves it to the workers: 24 images without labels."""
    rows = Rows(uri=[f"{index:02d}.jpg" for index in range(24)])
    manifests.save(Manifest(rows.table(), str(folder), [], "0"), place(folder) / MANIFEST)
    return place(folder)


class Feed:
    """Batches from memory, from `start`."""

    def __init__(self, config: Config, start: int) -> None:
        self._batches = itertools.islice(batches(config, config.train.epochs * PLAN.steps_per_epoch), start, None)
        self.step = start - 1  # given last
        self.closed = False

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch = with_fields(next(self._batches), changed=0)
        self.step = batch.step
        if batch.step in BAD:
            image = BAD[batch.step]
            return with_fields(batch, bad=[BadImage(image, f"{image:02d}.jpg", "truncated", "cut short", 5)])
        return batch

    def ready(self, seconds: float) -> bool:  # noqa: ARG002
        return True

    def usage(self) -> dict[str, float]:
        return {"crop_nodes": 1}

    def close(self) -> None:
        self.closed = True


class InProcess:
    """The Coordinator of training/coordinator.py: requests what it is told to after a step, remembers what it hears.

    `events` are the messages and, by name, the calls, in order.
    """

    device = torch.device("cpu")

    def __init__(self, config: Config, requests: dict[int, Request] | None = None, refusal: str = "") -> None:
        self._config, self._requests, self._refusal = config, requests or {}, refusal
        self.events: list[Message | str] = []
        self.reason = ""
        self.failures: list[str] = []
        self.given: Feed | None = None
        self.start: Start | None = None  # of measurements beside training

    def given_up(self) -> str:
        return self.reason

    def begin(self, step: int) -> str:
        self.events.append(f"begin {step}")
        return self._refusal

    def request(self) -> Request:
        return self._requests.get(self.given.step, Request.NONE) if self.given else Request.NONE

    def preemption(self) -> Preemption | None:
        return None

    def report(self, message: Message) -> None:
        self.events.append(message)

    def saved(self) -> None:
        self.events.append("saved")

    def feed(self, maker: BatchMaker, world: World, start: int, end: int) -> Feed:  # noqa: ARG002
        self.given = Feed(self._config, start)
        return self.given

    def beside_training(self, workers: int) -> Start | None:  # noqa: ARG002
        return self.start

    def wait_to_be_ended(self, seconds: float) -> None:  # noqa: ARG002
        self.events.append("wait")

    def give_up(self, reason: str) -> None:
        self.reason = reason

    def note_failure(self, why: str) -> None:
        self.failures.append(why)


class AtOnce:
    """A measurement beside training that is done when it is asked for."""

    def __init__(self, config: Config, run_dir: Place, step: int) -> None:
        self.step = step
        self._arguments = config, run_dir, step, "cpu"

    def poll(self) -> Figures | None:
        return measure(*self._arguments)

    def cancel(self) -> None:
        pass


def measurable(patch: Callable[[Any, str, Any], None]) -> None:
    """Gives the made-up images, which nobody can read, an accuracy: a figure of the weights that every bit decides."""

    def knn(_: Measurer, model: SwAVModel, **others: SwAVModel | None) -> Knn:
        models = {"trained": model} | {name: other for name, other in others.items() if other is not None}
        return Knn(top1={name: _accuracy(one) for name, one in models.items()} | {"pixels": 1.0, "chance": 0.5})

    patch(Measurer, "has_work", lambda _: True)
    patch(Measurer, "knn", knn)


def _accuracy(model: SwAVModel) -> float:
    weights = b"".join(tensor.detach().numpy().tobytes() for tensor in model.state_dict().values())
    return (zlib.crc32(weights) % 10_000) / 100


def run(
    config: Config, run_dir: Place, requests: dict[int, Request] | None = None, *, beside: bool = False
) -> InProcess:
    """Runs the worker, measured by itself or beside; what it told its coordinator."""
    coordinator = InProcess(config, requests)
    if beside:
        coordinator.start = lambda step: AtOnce(config, run_dir, step)
    worker.run(config, run_dir, coordinator)
    return coordinator
