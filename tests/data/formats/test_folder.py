"""Folders of images: the sub-folders are classes, and splits if one of them is called train."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swav_ray.data.formats.rows import SCHEMA
from swav_ray.data.manifest import build
from swav_ray.storage.place import PlaceError
from tests.data.images import write_files, write_parquet


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


def test_unlabelled_images_beside_splits_are_no_class(tmp_path: Path) -> None:
    files = {f"{folder}/{i}.jpg": b"x" for folder in ("train/a", "train/b", "test/a", "unlabeled") for i in range(2)}
    found = build(str(write_files(tmp_path, files)))
    assert found.classes == ["a", "b"]
    assert found.labels.tolist() == [0, 0, 0, 0, 1, 1, -1, -1]
    assert found.test_ids().tolist() == [0, 1]


@pytest.mark.parametrize("folder", ["train/unlabeled", "train/Unlabelled"])
def test_unlabelled_images_among_the_classes_are_no_class(tmp_path: Path, folder: str) -> None:
    files = {f"{where}/{i}.jpg": b"x" for where in ("train/a", "train/b", "test/a", folder) for i in range(2)}
    found = build(str(write_files(tmp_path, files)))
    assert found.classes == ["a", "b"]
    assert (found.labels < 0).sum() == 2
    without_splits = build(str(tmp_path / "train"))
    assert without_splits.classes == ["a", "b"]
    assert (without_splits.labels < 0).sum() == 2


METADATA = {
    "metadata.csv": b"file_name,label\na.jpg,dog\nb.jpg,cat\n",
    "metadata.jsonl": b'{"file_name": "a.jpg", "label": "dog"}\n{"file_name": "b.jpg", "label": "cat"}\n',
}


@pytest.mark.parametrize("name", [*METADATA, "metadata.parquet"])
def test_a_metadata_file_beside_images_has_their_labels(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, {"x/a.jpg": b"x", "x/b.jpg": b"x", "x/c.jpg": b"x"})
    if name in METADATA:
        (tmp_path / "x" / name).write_bytes(METADATA[name])
    else:
        table = pa.table({"file_name": ["a.jpg", "b.jpg"], "label": ["dog", "cat"]})
        pq.write_table(table, tmp_path / "x" / name)
    found = build(str(tmp_path))
    assert (found.classes, found.labels.tolist(), found.notes) == (["cat", "dog"], [1, 0, -1], ())


def test_labels_below_0_among_numbers_are_none(tmp_path: Path) -> None:
    files = {
        "a.jpg": b"x",
        "b.jpg": b"x",
        "c.jpg": b"x",
        "metadata.csv": b"file_name,label\na.jpg,-1\nb.jpg,9\nc.jpg,10\n",
    }
    found = build(str(write_files(tmp_path, files)))
    assert (found.classes, found.labels.tolist()) == (["9", "10"], [-1, 0, 1])


def test_tables_beside_images_are_left_out_with_a_note_and_shards_of_images_are_not(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.jpg": b"x"})
    pq.write_table(pa.table({"file": ["a.jpg"], "width": [3]}), tmp_path / "annotations.parquet")
    found = build(str(tmp_path))
    assert len(found) == 1
    assert found.notes == ("left out 1 files that are not images: .parquet (1); for example annotations.parquet",)
    write_parquet(tmp_path / "images.parquet", 3)
    with pytest.raises(PlaceError, match="holds 1 image files and 2 Parquet shards"):
        build(str(tmp_path))


def test_a_place_that_is_a_link_to_itself_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(PlaceError, match="loop: does not exist"):
        build(str(tmp_path / "loop"))


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (b"a,b\n1,2\n", "has no columns file_name and label"),
        (b"file_name,label\nz.jpg,1\n", "names no image that is here"),
        (b"file_name,label\n1\n", "cannot be read"),
    ],
)
def test_a_metadata_file_without_labels_is_left_out_with_a_note(tmp_path: Path, content: bytes, note: str) -> None:
    found = build(str(write_files(tmp_path, {"a.jpg": b"x", "metadata.csv": content})))
    assert found.classes == []
    assert len(found.notes) == 1
    assert found.notes[0].startswith("left out")
    assert note in found.notes[0]


def test_class_folders_come_before_a_metadata_file(tmp_path: Path) -> None:
    files = {"a/1.jpg": b"x", "b/1.jpg": b"x", "metadata.csv": b"file_name,label\na/1.jpg,z\n"}
    assert build(str(write_files(tmp_path, files))).classes == ["a", "b"]


def test_a_shard_may_be_called_metadata(tmp_path: Path) -> None:
    write_parquet(tmp_path / "metadata.parquet", 3)
    assert len(build(str(tmp_path))) == 3
