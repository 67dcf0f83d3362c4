"""Labelled images of three colours, a backbone that trains in milliseconds, and a protocol's worker in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swav_ray.command_line import Parser, read
from swav_ray.config import Config
from swav_ray.data.batch import Batch
from swav_ray.data.batches import BatchMaker
from swav_ray.evaluate.features.labelled import Labelled
from swav_ray.evaluate.features.splits import Split, of_places
from swav_ray.evaluate.fit import worker
from swav_ray.evaluate.fit.classify.material import Material
from swav_ray.evaluate.fit.task import Fit
from swav_ray.evaluate.fit.worker import Saves
from swav_ray.evaluate.protocols import ON_IMAGES
from swav_ray.features.embedding import crops_of, embed
from swav_ray.run.events import Events
from swav_ray.storage.place import Place, place
from swav_ray.training.control import Request
from swav_ray.training.distributed import World
from swav_ray.weights.backbone import Backbone
from tests.evaluate.fit.toy import InProcess
from tests.evaluate.protocols.given import backbone as narrow

COLORS = {"blue": 2, "green": 1, "red": 0}


def write_images(folder: Path, train: int = 12, val: int = 6) -> None:
    """`train` and `val` images of each class, in folders of the classes; noise with a little of the class's colour."""
    import cv2

    for split, count in (("train", train), ("val", val)):
        for name, channel in COLORS.items():
            for index in range(count):
                rng = np.random.default_rng([channel, index, count])
                pixels = rng.integers(0, 200, (20, 20, 3), dtype=np.uint8)
                pixels[..., 2 - channel] = np.minimum(pixels[..., 2 - channel] + 40, 255)  # OpenCV's order
                path = folder / split / name / f"{index:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def material(folder: Path, backbone: Backbone | None = None) -> Material:
    """Of the images that `write_images` wrote to a folder."""
    network = backbone or narrow()
    train, val, _ = of_places(str(folder), "", "", place(folder.parent / "cache"))

    def features(splits: list[Split]) -> list[Labelled]:
        return [embedded(network, split) for split in splits]

    return Material(backbone=network, train=train, val=val, features=features, config=Config())


def embedded(backbone: Backbone, split: Split) -> Labelled:
    """A split with its features, in this process."""
    crops, reasons, _ = crops_of(split.manifest, split.ids, backbone.preprocess.image_size, 1)
    keep = np.array([reason is None for reason in reasons])
    lines = [f"{split.manifest.uri_of(i)}: {why}" for i, why in zip(split.ids, reasons, strict=True) if why]
    features = embed(backbone, crops[keep], torch.device("cpu"))
    return Labelled(split.ids[keep], features, split.labels[keep], split.classes, split.manifest.root, lines)


def options(name: str, *words: str) -> dict[str, Any]:
    """A protocol's own options, read from a command line."""
    parser = Parser()
    ON_IMAGES[name].add_options(parser)
    return vars(read(parser, words))


class Feed:
    """Batches that are made when they are asked for."""

    def __init__(self, maker: BatchMaker, world: World, start: int, end: int) -> None:
        self._maker, self._world = maker, world
        self._steps = iter(range(start, end))
        self.step = start - 1  # given last
        self.closed = False

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        self.step = next(self._steps)
        (ids,) = self._maker.plan.batches(self.step, self.step + 1)
        return self._maker.make(self.step, ids[self._world.own_slice(len(ids))])

    def ready(self, seconds: float) -> bool:  # noqa: ARG002
        return True

    def usage(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        self.closed = True


class Worker(InProcess):
    def feed(self, maker: BatchMaker, world: World, start: int, end: int) -> Feed:
        self.given = Feed(maker, world, start, end)
        return self.given


def run(fit: Fit, folder: Place, requests: Mapping[int, Request] | None = None, world: World | None = None) -> Worker:
    """Runs a worker of a protocol; what it told its coordinator."""
    Events.write = lambda *_: None  # type: ignore[method-assign]  # TensorBoard takes seconds to import
    coordinator = Worker(requests)
    worker.run(fit, folder, coordinator, Saves(steps=3), world=world)
    return coordinator


def with_config(given: Material, config: Config) -> Material:
    """The same with settings of a run."""
    return replace(given, config=config)


def with_train(given: Material, train: Split) -> Material:
    """The same with other images to learn from."""
    return replace(given, train=train)
