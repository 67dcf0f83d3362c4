"""kNN of a run on its own held-out images: who is a neighbour, who a query, and what is left out."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from swav_ray.config import EvalConfig
from swav_ray.data.manifest import Manifest, build
from swav_ray.data.sample_plan import even_slice
from swav_ray.evaluate.in_training.probe import Knn, knn
from swav_ray.training.distributed import World
from tests.data.images import write_files

CONFIG = EvalConfig(image_size=8, knn_k=3)
COLOURS = {"black": 10, "grey": 120, "white": 240}
BACKBONES: dict[str, nn.Module] = {"mean": nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())}
CPU = torch.device("cpu")
T = TypeVar("T")


def png(brightness: int) -> bytes:
    sink = io.BytesIO()
    # A bright stripe, so that the classes differ by their direction and not by their length alone.
    pixels = np.full((12, 12, 3), brightness, np.uint8)
    pixels[:, :4] = 128
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def photos() -> dict[str, bytes]:
    """Nine images to train on and three held out, in three classes of one colour each."""
    files = {f"train/{name}/{i}.png": png(value + i) for name, value in COLOURS.items() for i in range(3)}
    return {**files, **{f"val/{name}/q.png": png(value + 5) for name, value in COLOURS.items()}}


def found(manifest: Manifest, config: EvalConfig = CONFIG, world: object = None) -> Knn:
    workers = world or World()
    return knn(BACKBONES, manifest, manifest.train_ids(), manifest.test_ids(), config, device=CPU, world=workers)  # type: ignore[arg-type]


def measured(manifest: Manifest, config: EvalConfig = CONFIG) -> dict[str, float]:
    return dict(found(manifest, config).top1)


def test_held_out_images_are_classified_by_their_neighbours_beside_pixels_and_chance(tmp_path: Path) -> None:
    manifest = build(str(write_files(tmp_path, photos())))
    assert measured(manifest) == {"mean": 100.0, "pixels": 100.0, "chance": pytest.approx(100 / 3)}


def test_without_labels_there_is_nothing_to_measure(tmp_path: Path) -> None:
    files = {f"train/{i}.png": png(i) for i in range(4)} | {"val/q.png": png(9)}
    manifest = build(str(write_files(tmp_path, files)))
    assert measured(manifest) == {}


def test_without_held_out_images_there_is_nothing_to_measure(tmp_path: Path) -> None:
    files = {name: data for name, data in photos().items() if name.startswith("train/")}
    manifest = build(str(write_files(tmp_path, files)))
    assert measured(manifest) == {}


@pytest.mark.parametrize("broken", ["train/grey/1.png", "val/grey/q.png"])
def test_an_unreadable_image_is_left_out_of_neighbours_and_queries(tmp_path: Path, broken: str) -> None:
    manifest = build(str(write_files(tmp_path, {**photos(), broken: b"no image"})))
    chance = 50.0 if broken.startswith("val/") else pytest.approx(100 / 3)
    assert measured(manifest) == {"mean": 100.0, "pixels": 100.0, "chance": chance}


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_a_readable_image_measures_nothing(tmp_path: Path, split: str) -> None:
    files = {name: b"no image" if name.startswith(split) else data for name, data in photos().items()}
    assert measured(build(str(write_files(tmp_path, files)))) == {}


def test_more_neighbours_than_there_are_images_are_as_many_as_there_are(tmp_path: Path) -> None:
    manifest = build(str(write_files(tmp_path, photos())))
    assert set(measured(manifest, EvalConfig(image_size=8, knn_k=100))) == {"mean", "pixels", "chance"}


def test_bank_and_queries_are_spread_evenly_over_a_sorted_data_set(tmp_path: Path) -> None:
    manifest = build(str(write_files(tmp_path, photos())))
    # Three neighbours of nine: one of each class, or the votes could not be right.
    assert measured(manifest, EvalConfig(image_size=8, knn_k=1, max_bank=3))["mean"] == 100.0


class Threads:
    """Workers of one process: each a thread, its values gathered at a barrier."""

    def __init__(self, size: int) -> None:
        self.values: list[object] = [None] * size
        self.barrier = threading.Barrier(size)

    def of(self, rank: int) -> OneOf:
        return OneOf(self, rank)


class OneOf:
    def __init__(self, threads: Threads, rank: int) -> None:
        self._threads, self._rank = threads, rank

    def own_slice(self, rows: int) -> slice:
        return even_slice(rows, len(self._threads.values), self._rank)

    def gather_objects(self, value: T) -> list[T]:
        self._threads.values[self._rank] = value
        self._threads.barrier.wait(timeout=30)
        gathered = list(self._threads.values)
        self._threads.barrier.wait(timeout=30)
        return gathered  # type: ignore[return-value]


@pytest.mark.parametrize("workers", [2, 5])
def test_every_worker_has_the_figure_of_all_images_also_one_without_a_query(tmp_path: Path, workers: int) -> None:
    manifest = build(str(write_files(tmp_path, photos())))
    threads = Threads(workers)
    with ThreadPoolExecutor(workers) as pool:
        everyone = list(pool.map(lambda rank: found(manifest, world=threads.of(rank)), range(workers)))
    assert everyone == [found(manifest)] * workers
    assert everyone[0].top1


@pytest.mark.parametrize("workers", [1, 3])
def test_held_out_images_that_cannot_be_read_are_named_on_every_worker(tmp_path: Path, workers: int) -> None:
    files = {name: b"no image" if name.startswith("val/") else data for name, data in photos().items()}
    manifest = build(str(write_files(tmp_path, files)))
    threads = Threads(workers)
    with ThreadPoolExecutor(workers) as pool:
        everyone = list(pool.map(lambda rank: found(manifest, world=threads.of(rank)), range(workers)))
    assert everyone == [everyone[0]] * workers
    assert everyone[0].queries == len(everyone[0].unreadable) == 3
    assert {bad.sample_id for bad in everyone[0].unreadable} == set(manifest.test_ids().tolist())
    assert everyone[0].why_none().startswith(f"none of 3 held-out images can be read; for example {tmp_path}/val/black")


def test_a_held_out_image_that_is_gone_is_missing(tmp_path: Path) -> None:
    manifest = build(str(write_files(tmp_path, photos())))
    (tmp_path / "val/grey/q.png").unlink()
    (bad,) = found(manifest).unreadable
    assert (bad.kind, Path(bad.uri)) == ("missing", tmp_path / "val/grey/q.png")
    assert found(manifest).why_none() == ""


def test_a_held_out_image_that_is_byte_identical_to_a_neighbour_is_left_out_and_counted(tmp_path: Path) -> None:
    files = photos()
    files["val/white/q.png"] = files["train/black/0.png"]
    manifest = build(str(write_files(tmp_path, files)))
    assert found(manifest).twins == 1
    assert measured(manifest) == {"mean": 100.0, "pixels": 100.0, "chance": 50.0}
    earlier = replace(manifest, table=manifest.table.drop_columns(["content"]))  # whose run counted it
    assert found(earlier).twins == 0
    assert measured(earlier)["mean"] == pytest.approx(200 / 3)


def test_if_all_held_out_images_are_copies_that_is_why_there_is_no_figure(tmp_path: Path) -> None:
    files = photos()
    files |= {f"val/{name}/q.png": files[f"train/{name}/0.png"] for name in COLOURS}
    only_copies = found(build(str(write_files(tmp_path, files))))
    assert (dict(only_copies.top1), only_copies.twins) == ({}, 3)
    assert only_copies.why_none() == "all 3 held-out images are copies of training images"
