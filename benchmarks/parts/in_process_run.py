"""A whole run of the real worker on the built-in images, in this process and without Ray, its restarts included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from swav_ray import settings, worker
from swav_ray.config import Config
from swav_ray.data import manifest as manifests
from swav_ray.data.batch import Batch
from swav_ray.data.batches import BatchMaker
from swav_ray.data.shapes import write_shapes
from swav_ray.measuring.beside import Start
from swav_ray.run.layout import CONFIG, MANIFEST
from swav_ray.run.messages import Message
from swav_ray.storage.place import Place, place
from swav_ray.training.control import Preemption, Request
from swav_ray.training.coordinator import Restart
from swav_ray.training.distributed import World

SHAPES = {"train": 6000, "test": 1000, "size": 48, "seed": 0, "rows_per_shard": 1024}


class Feed:
    """Batches that are made when they are asked for."""

    def __init__(self, maker: BatchMaker, start: int, end: int) -> None:
        steps = zip(range(start, end), maker.plan.batches(start, end), strict=True)
        self._batches = (maker.make(step, ids) for step, ids in steps)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return next(self._batches)

    def ready(self, seconds: float) -> bool:  # noqa: ARG002
        return True

    def usage(self) -> Mapping[str, float]:
        return {}

    def close(self) -> None:
        pass


class Coordinator:
    """worker.PretrainingCoordinator for one worker; `messages` are what it reported."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.reason = ""

    def given_up(self) -> str:
        return self.reason

    def begin(self, step: int) -> str:  # noqa: ARG002
        return ""

    def request(self) -> Request:
        return Request.NONE

    def preemption(self) -> Preemption | None:
        return None

    def report(self, message: Message) -> None:
        self.messages.append(message)

    def saved(self) -> None:
        pass

    def feed(self, maker: BatchMaker, world: World, start: int, end: int) -> Feed:  # noqa: ARG002
        return Feed(maker, start, end)

    def beside_training(self, workers: int) -> Start | None:  # noqa: ARG002
        return None

    def wait_to_be_ended(self, seconds: float) -> None:
        pass

    def give_up(self, reason: str) -> None:
        self.reason = reason

    def note_failure(self, why: str) -> None:
        pass


def make_run(folder: Path, config: Config) -> Place:
    """A run directory as the launcher leaves it to the workers; the images lie beside it."""
    images = place(folder.parent / "shapes")
    write_shapes(images, **SHAPES)
    run_dir = place(folder)
    cache = place(folder.parent / "manifests")
    manifests.save(manifests.load_or_build(images.uri, cache), run_dir / MANIFEST)
    (run_dir / CONFIG).write_bytes(settings.to_yaml(config).encode())
    return run_dir


def train(config: Config, run_dir: Place) -> Coordinator:
    """Runs the worker until the run ends, as often as it restarts. Raises what ends the run."""
    coordinator = Coordinator()
    while True:
        try:
            worker.run(config, run_dir, coordinator)
        except Restart:
            continue
        return coordinator
