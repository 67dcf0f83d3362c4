"""A list in storage gets the labels of a CSV as a list in memory does, with the same errors and notes."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from swav_ray.data.indexing import external_sort, label_join
from swav_ray.data.indexing.partitions import Partitions, PartitionWriter
from swav_ray.data.labels import in_storage as long_labels
from swav_ray.data.labels.in_memory import with_labels
from swav_ray.data.labels.in_storage import labelled_in_storage
from swav_ray.data.manifest import Manifest, build
from swav_ray.data.samples import replace
from swav_ray.storage.place import Place, PlaceError, place
from tests.data.images import image, write_files, write_parquet

NAMES = (
    *(f"train/b/{n}.jpg" for n in range(4)),
    *(f"train/a/{n}.jpg" for n in range(2, 6)),
    *("val/7.jpg", "val/8.png", "val/c/9.jpg", "10.jpg", "x.tar.jpg", "x.tar.png", "x.jpg"),
    *("sub/10.jpg", "10", "train/a/é b.jpg"),
)
CSVS = {
    "paths, file names and stems": "name,label\ntrain/b/0.jpg,dog\n7.jpg,cat\n8,owl\n",
    "numbers": "7,10\n8,9\n9,9\n",
    "numbers below 0 are none": "7,-1\n8,9\n",
    "a word among numbers": "7,-1\n8,nine\n",
    "an ambiguous file name": "2.jpg,x\n0,dog\n",
    "ambiguous, but a path": "10.jpg,dog\n10,cat\nx.tar,y\nx.tar.jpg,y\n",
    "no image's": "z9,1\n7,2\nz8,3\nz1,3\nz3,3\nz8,1\n",
    "no label": "7,\n8,2\n",
    "the same label twice": "7,2\n7.jpg,2\nval/7.jpg,2\n",
    "the same name twice": "7,2\n7,2\n",
    "classes of its own": "train/b/0.jpg,a\ntrain/b/1.jpg,a\ntrain/b/2.jpg,a\ntrain/b/3.jpg,z\n",
    "a byte order mark": "\ufeffname,label\ntrain/a/é b.jpg,1\n",
}
WRONG = {
    "two labels": "7,1\n8,3\nval/7.jpg,2\n",
    "two in a cell": "7,1|2\n",
    "none is an image's": "a,1\nb,2\nc,2\nd,1\n",
    "no labels": "7,\n",
    "three columns": "7,1\n8,1,2\n",
    "empty": "",
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    files = {name: image(n, "PNG") for n, name in enumerate(NAMES) if name != "10"}
    return build(str(write_files(tmp_path_factory.mktemp("images"), files)))


def in_storage(manifest: Manifest, folder: Path) -> Manifest:
    writer = PartitionWriter(place(folder / "list"), 4)
    writer.write(manifest.table)
    return replace(manifest, table=writer.close())


def csv(folder: Path, text: str) -> Place:
    (folder / "labels.csv").write_bytes(text.encode())
    return place(folder / "labels.csv")


@pytest.mark.parametrize("run", [5, 1000])
@pytest.mark.parametrize("text", CSVS)
def test_the_labels_are_those_of_a_list_in_memory(images: Manifest, tmp_path: Path, text: str, run: int) -> None:
    file = csv(tmp_path, CSVS[text])
    whole, notes = with_labels(images, file, keep_own=True)
    few = mock.patch.multiple(external_sort, RUN_ROWS=run, _BLOCK_ROWS=2, _MOST_RUNS=3)
    with few, mock.patch.object(label_join, "_CHUNK", 2):
        found = labelled_in_storage(in_storage(images, tmp_path), file, place(tmp_path / "cache"))
    assert isinstance(found.table, Partitions)
    assert found.in_memory().table.equals(whole.table)
    assert found.classes == whole.classes
    assert found.notes == (*images.notes, *notes)
    assert (found.fingerprint, found.looks, found.root) == (whole.fingerprint, whole.looks, whole.root)
    assert found.count(0, labelled=True) == int((whole.labels[whole.train_ids()] >= 0).sum())


@pytest.mark.parametrize("text", WRONG)
def test_the_errors_are_those_of_a_list_in_memory(images: Manifest, tmp_path: Path, text: str) -> None:
    file = csv(tmp_path, WRONG[text])
    with pytest.raises(PlaceError) as expected:
        with_labels(images, file, keep_own=True)
    with pytest.raises(PlaceError) as found:
        labelled_in_storage(in_storage(images, tmp_path), file, place(tmp_path / "cache"))
    assert str(found.value) == str(expected.value)
    assert type(found.value) is type(expected.value)
    assert not list((tmp_path / "cache").glob("*.parquet"))


def test_a_csv_that_is_missing_or_has_too_many_labels_is_one_line(
    images: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, cache = in_storage(images, tmp_path), place(tmp_path / "cache")
    with pytest.raises(PlaceError, match="no such file; give a CSV of name,label"):
        labelled_in_storage(stored, place(tmp_path / "nothing.csv"), cache)
    monkeypatch.setattr(long_labels, "MOST_CLASSES", 2)
    with pytest.raises(PlaceError, match="has more than 2 labels, so they are names and no classes"):
        labelled_in_storage(stored, csv(tmp_path, "7,a\n8,b\n9,c\n"), cache)


def test_samples_of_one_file_have_no_name_of_their_own(tmp_path: Path) -> None:
    write_parquet(tmp_path / "in" / "train-0.parquet", 6)
    shards = build(str(tmp_path / "in"))
    file = csv(tmp_path, "train-0.parquet,1\n")
    for label in (
        lambda: with_labels(shards, file),
        lambda: labelled_in_storage(in_storage(shards, tmp_path), file, place(tmp_path)),
    ):
        with pytest.raises(PlaceError, match="none of its names"):
            label()


def test_a_labelled_list_is_made_once_for_each_version_of_the_csv(images: Manifest, tmp_path: Path) -> None:
    stored, cache = in_storage(images, tmp_path), place(tmp_path / "cache")
    first = labelled_in_storage(stored, csv(tmp_path, "7,a\n8,b\n"), cache)
    with mock.patch.object(long_labels, "join_labels", side_effect=AssertionError("joined again")):
        again = labelled_in_storage(stored, place(tmp_path / "labels.csv"), cache)
    assert again.in_memory().table.equals(first.in_memory().table)
    assert (again.classes, again.notes) == (first.classes, first.notes)
    other = labelled_in_storage(stored, csv(tmp_path, "7,other\n8,b\n"), cache)
    assert "other" in other.classes
    assert "other" not in first.classes


def test_a_labelled_list_that_is_damaged_is_made_anew(images: Manifest, tmp_path: Path) -> None:
    stored, cache = in_storage(images, tmp_path), place(tmp_path / "cache")
    file = csv(tmp_path, "7,a\n8,b\n")
    first = labelled_in_storage(stored, file, cache)
    (cached,) = (tmp_path / "cache").glob("*.parquet")
    cached.write_bytes(b"damaged")
    again = labelled_in_storage(stored, file, cache)
    assert (again.classes, again.notes) == (first.classes, first.notes)
    assert again.in_memory().table.equals(first.in_memory().table)
