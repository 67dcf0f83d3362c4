"""Folders of images: the sub-folders are classes, and splits if one of them is called train."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.data.formats.rows import SCHEMA
from swav_ray.data.manifest import build
from tests.data.images import write_files


def test_class_folders_become_labels_in_alphabetical_order(tmp_path: Path) -> None:
    write_files(tmp_path, {f"{name}/{i}.jpg": b"x" for name in ("dog", "ant", "cat") for i in range(2)})
    found = build(str(tmp_path))
    assert found.table.schema == SCHEMA
    assert found.classes == ["ant", "cat", "dog"]
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.train_ids().tolist() == list(range(6))
    assert len(found.test_ids()) == 0


@pytest.mark.parametrize("held_out", ["val", "valid", "validation", "dev", "eval", "test"])
def test_split_folders_are_splits_and_not_classes(tmp_path: Path, held_out: str) -> None:
    files = {f"photos/{split}/{name}/1.png": b"x" for split in ("train", held_out) for name in ("a", "b")}
    found = build(str(write_files(tmp_path, files)))
    assert found.classes == ["a", "b"]
    assert len(found.train_ids()) == len(found.test_ids()) == 2
    assert {found.uri_of(i).split("/")[-3] for i in found.test_ids()} == {held_out}


def test_a_class_may_be_called_test_if_there_is_no_train(tmp_path: Path) -> None:
    found = build(str(write_files(tmp_path, {"test/1.jpg": b"x", "best/1.jpg": b"x", "train_station/1.jpg": b"x"})))
    assert found.classes == ["best", "test", "train_station"]
    assert len(found.train_ids()) == 3


def test_images_without_class_folders_have_no_labels(tmp_path: Path) -> None:
    found = build(str(write_files(tmp_path, {f"all/deep/{i}.JPG": b"x" for i in range(3)})))
    assert found.classes == []
    assert found.labels.tolist() == [-1, -1, -1]
