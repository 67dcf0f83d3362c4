"""What a run trains on: the list of its place, with the labels of a CSV, and once it has begun its own."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from swav_ray.config import Config, replace
from swav_ray.data import manifest as manifests
from swav_ray.data.indexing.partitions import Partitions
from swav_ray.data.manifest import save
from swav_ray.data.shapes import VERSION, write_shapes
from swav_ray.launch import dataset
from swav_ray.launch.dataset import manifest_of
from swav_ray.recipes import quickstart
from swav_ray.report.terminal import Terminal
from swav_ray.run.layout import MANIFEST, shapes_folder
from swav_ray.storage.place import place
from tests.data.images import image, write_files


def test_a_long_list_gets_its_labels_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manifests, "MOST_IN_MEMORY", 5)
    images = write_files(tmp_path / "images", {f"{n}.png": image(n, "PNG") for n in range(8)})
    (tmp_path / "labels.csv").write_text("0,cat\n3,dog\nelsewhere,dog\n")
    data = {"uri": str(images), "labels": str(tmp_path / "labels.csv")}
    config = replace(Config(), data=data, run={"storage": str(tmp_path / "runs"), "name": "long"})
    run_dir = place(tmp_path / "runs" / "long")
    found = manifest_of(config, run_dir, Terminal(0.0), begun=False)
    assert isinstance(found.table, Partitions)
    assert (found.classes, found.labels.tolist()) == (["cat", "dog"], [0, -1, -1, 1, -1, -1, -1, -1])
    said = capsys.readouterr().out
    assert f"note: {tmp_path}/labels.csv: 1 names are no image of {images}: elsewhere" in said
    assert f"note: {tmp_path}/labels.csv: names no label for 6 of 8 images" in said
    save(found, run_dir / MANIFEST)
    with mock.patch.object(dataset, "labelled_in_storage", side_effect=AssertionError("joined again")):
        again = manifest_of(config, run_dir, Terminal(0.0), begun=True)
    assert again.labels.tolist() == found.labels.tolist()


def test_the_built_in_images_have_a_folder_for_each_drawing(tmp_path: Path) -> None:
    assert shapes_folder(place(tmp_path)).name == f"shapes-{VERSION}"


def test_a_run_that_began_with_the_images_of_0_1_0_goes_on_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = place(tmp_path / "runs")
    write_shapes(storage / "_data" / "shapes", train=8, test=2, size=16)
    config = replace(quickstart(), run={"storage": storage.uri, "name": "old"})
    run_dir = storage / "old"
    save(manifests.build((storage / "_data" / "shapes").uri), run_dir / MANIFEST)
    found = manifest_of(config, run_dir, Terminal(0.0), begun=True)
    assert (len(found), place(found.root).name) == (10, "shapes")
    assert not shapes_folder(storage).exists()
    assert "changed" not in capsys.readouterr().out
