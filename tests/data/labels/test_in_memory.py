"""Labels from a CSV find their images by path, file name or stem, and say what they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.data.labels.in_memory import samples_named, with_labels
from swav_ray.data.manifest import Manifest, build
from swav_ray.storage.place import PlaceError, place
from tests.data.images import image, write_files


@pytest.fixture
def flat(tmp_path: Path) -> Manifest:
    """Four images; two of them have the same file name."""
    names = ["a.jpg", "b.jpg", "one/c.jpg", "two/c.jpg"]
    write_files(tmp_path / "images", {name: image(i) for i, name in enumerate(names)})
    return build(str(tmp_path / "images"))


def csv(folder: Path, text: str) -> object:
    (folder / "labels.csv").write_text(text)
    return place(folder / "labels.csv")


def test_names_are_paths_file_names_or_stems(flat: Manifest, tmp_path: Path) -> None:
    labelled, notes = with_labels(flat, csv(tmp_path, "name,label\nb,dog\na.jpg,cat\none/c.jpg,10\ntwo/c.jpg,9\n"))
    assert labelled.classes == ["10", "9", "cat", "dog"]
    assert [labelled.classes[label] for label in labelled.labels] == ["cat", "dog", "10", "9"]
    assert notes == ()


def test_numbers_are_sorted_as_numbers_and_images_without_a_label_are_counted(flat: Manifest, tmp_path: Path) -> None:
    labelled, notes = with_labels(flat, csv(tmp_path, "a,10\nb,9\none/c.jpg,\n"))
    assert labelled.classes == ["9", "10"]
    assert labelled.labels.tolist() == [1, 0, -1, -1]
    assert notes == (f"{tmp_path / 'labels.csv'}: names no label for 2 of 4 images",)


def test_numbers_below_0_are_no_labels(flat: Manifest, tmp_path: Path) -> None:
    labelled, _ = with_labels(flat, csv(tmp_path, "a,-1\nb,9\none/c.jpg,-2\ntwo/c.jpg,10\n"))
    assert (labelled.classes, labelled.labels.tolist()) == (["9", "10"], [-1, 0, -1, 1])
    labelled, _ = with_labels(flat, csv(tmp_path, "a,-1\nb,dog\n"))  # names: there it is one
    assert labelled.classes == ["-1", "dog"]


def test_an_ambiguous_name_is_no_images_name(flat: Manifest, tmp_path: Path) -> None:
    _, notes = with_labels(flat, csv(tmp_path, "a,1\nc,2\n"))
    assert notes[0].endswith(f"1 names are no image of {flat.root}: c")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x,1\n", r"none of its names \(x\) is an image of .*, such as a\.jpg"),
        ("a,1\na,2\n", r"a\.jpg has the labels 1 and 2; this protocol needs one"),
        ("a,1|2\n", r"a\.jpg has the labels 1 and 2; this protocol needs one"),
        ("a,\n", "holds no labels"),
        ('"a\rb,1\n' + "x" * 200_000 + ",1", "is no CSV of name,label"),
        ("a,1,2\n", "line 1 has 3 columns instead of name,label"),
        ("name,label\n", "holds no labels"),
        ("", "holds no labels"),
    ],
)
def test_a_csv_that_does_not_fit_is_told_in_a_line(flat: Manifest, tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(PlaceError, match=told):
        with_labels(flat, csv(tmp_path, text))


def test_a_missing_or_binary_file_is_told(flat: Manifest, tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="no such file; give a CSV of name,label"):
        with_labels(flat, place(tmp_path / "nothing.csv"))
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlaceError, match="is not UTF-8 text"):
        with_labels(flat, place(tmp_path / "x.csv"))


def test_a_list_of_names_is_samples_and_a_note_of_what_is_no_image(flat: Manifest, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("two/c.jpg\nb\n\nnothing.jpg\nb.jpg\n")
    ids, notes = samples_named(flat, place(tmp_path / "list.txt"))
    assert [flat.table["uri"][sample].as_py() for sample in ids.tolist()] == ["b.jpg", "two/c.jpg"]
    assert notes == [f"{tmp_path / 'list.txt'}: 1 names are no image of {flat.root}: nothing.jpg"]


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "no such file; give a list of names"), (b"\xff\xfe", "is not UTF-8 text"), (b"x\ny", "none of its names")],
)
def test_a_list_that_names_no_image_is_one_line(
    content: bytes | None, told: str, flat: Manifest, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(PlaceError, match=told):
        samples_named(flat, place(tmp_path / "list.txt"))


def test_labels_are_added_to_those_that_there_are(tmp_path: Path) -> None:
    files = {"train/b/1.jpg": b"x", "train/a/2.jpg": b"x", "val/3.jpg": b"x", "val/4.jpg": b"x"}
    found = build(str(write_files(tmp_path / "in", files)))
    assert found.labels.tolist() == [0, 1, -1, -1]
    labelled, _ = with_labels(found, csv(tmp_path, "3,b\n4,c\n"), keep_own=True)
    assert labelled.classes == ["a", "b", "c"]
    assert labelled.labels.tolist() == [0, 1, 1, 2]
