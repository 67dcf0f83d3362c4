"""Images with any number of labels: from a CSV, and from VOC's annotations with its difficult objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.multi_label import NAMES
from benchmarks.multi_label import write as compose
from swav_ray.data import manifest as manifests
from swav_ray.data.labels.sets import IGNORED, of_csv, of_labels, of_voc
from swav_ray.storage.place import PlaceError, place
from tests.data.formats.voc_files import write_voc
from tests.data.images import image, write_files, write_idx


def flat(folder: Path, names: str = "abcd") -> manifests.Manifest:
    write_files(folder / "images", {f"{name}.jpg": image(seed) for seed, name in enumerate(names)})
    return manifests.build(str(folder / "images"))


def test_an_image_has_its_labels_in_one_cell_or_in_several_lines(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("name,label\na,dog|cat\nb.jpg,cat\nb,bird\nb,cat\nc,\n")
    found, notes = of_csv(flat(tmp_path), place(tmp_path / "l.csv"))
    assert found.classes == ["bird", "cat", "dog"]
    assert found.ids.tolist() == [0, 1, 2]
    assert found.targets.tolist() == [[0, 1, 1], [1, 1, 0], [0, 0, 0]]  # c is known to show none of them
    assert notes == (f"{tmp_path / 'l.csv'}: names no label for 1 of 4 images",)


def test_an_image_with_difficult_objects_alone_is_ignored_for_their_class(tmp_path: Path) -> None:
    objects = {"one": ["dog", "cat?"], "two": ["dog?", "dog", "cow?"], "three": ["dog?"], "zero": []}
    where = place(write_voc(tmp_path, objects, {"trainval": ["two", "zero", "one"], "test": ["three"]}))
    images = manifests.build(str(tmp_path / "JPEGImages"))
    found, notes = of_voc(where, images, "trainval")
    assert [images.table["uri"][i].as_py() for i in found.ids.tolist()] == ["one.jpg", "two.jpg", "zero.jpg"]
    assert found.classes == ["cat", "cow", "dog"]
    assert found.targets.tolist() == [[IGNORED, 0, 1], [0, IGNORED, 1], [0, 0, 0]]
    assert notes == ()


def test_images_of_a_set_that_are_not_there_are_told(tmp_path: Path) -> None:
    where = place(write_voc(tmp_path, {"a": ["dog"]}, {"val": ["a", "b", "c"], "test": ["b"]}))
    images = manifests.build(str(tmp_path / "JPEGImages"))
    found, notes = of_voc(where, images, "val")
    assert len(found.ids) == 1
    assert notes == (f"{tmp_path}: 2 of 3 images of its set val are not there: b, c",)
    with pytest.raises(PlaceError, match="1 of 1 images of its set test are not there: b"):
        of_voc(where, images, "test")


def test_one_label_each_is_a_label_set() -> None:
    assert of_labels(np.array([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_a_composed_set_has_the_labels_of_what_is_on_each_canvas(tmp_path: Path) -> None:
    labels = np.arange(50) % 10
    for split in ("train", "t10k"):
        # The grey of an item is ten times its label, and five.
        write_idx(tmp_path / f"{split}-images-idx3-ubyte.gz", np.tile(10 * labels[:, None, None] + 5, (1, 28, 28)))
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte.gz", labels)
    compose(str(tmp_path), tmp_path / "out", train=40, val=20)
    images = manifests.build(str(tmp_path / "out" / "val"))
    found, notes = of_csv(images, place(tmp_path / "out" / "labels.csv"))
    assert (len(found.ids), found.classes) == (20, sorted(NAMES))
    assert ["40 names are no image of" in note for note in notes] == [True]
    for row, name in zip(found.targets, images.table["uri"].to_pylist(), strict=True):
        greys = np.unique(np.asarray(Image.open(tmp_path / "out" / "val" / name)))
        shown = {NAMES[grey // 10] for grey in greys[greys > 0]}
        assert {found.classes[column] for column in np.flatnonzero(row)} == shown
