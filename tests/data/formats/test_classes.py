"""What labels mean depends on all of them: whole numbers are themselves, words are numbered in their order."""

from __future__ import annotations

from unittest import mock

import pyarrow as pa

from swav_ray.data.formats import classes as classes_module
from swav_ray.data.formats.classes import Classes, Words


def words(*chunks: list[str | None], are_numbers: bool = False) -> Words:
    found = Words()
    for chunk in chunks:
        found.add(chunk, are_numbers=are_numbers)
    return found


def encoded(found: Classes, *labels: str | None) -> list[int]:
    return list(found.encode(pa.array(labels, pa.string())).to_pylist())


def test_words_are_numbered_in_their_order_over_all_chunks() -> None:
    found = words(["dog", None], ["ant", "dog"]).as_names()
    assert found.names == ["ant", "dog"]
    assert encoded(found, "dog", None, "ant", "bee") == [1, -1, 0, -1]


def test_numbers_among_words_are_words_and_alone_they_are_themselves() -> None:
    assert words(["3", "-1"], are_numbers=True).as_labels([]).names == ["0", "1", "2", "3"]
    assert encoded(words(["3", "-7"], are_numbers=True).as_labels([]), "3", "-7", None) == [3, -1, -1]
    mixed = Words()
    mixed.add(["3"], are_numbers=True)
    mixed.add(["x"])
    assert mixed.as_labels([]).names == ["3", "x"]


def test_numbers_too_large_for_classes_are_numbered_in_their_order() -> None:
    found = words([f"{1 << 40}", "9", "-1"], are_numbers=True).as_labels([])
    assert found.names == ["9", f"{1 << 40}"]
    assert encoded(found, f"{1 << 40}", "9", "-1") == [1, 0, -1]


def test_a_single_folder_says_nothing() -> None:
    assert words(["a"]).as_folders().names == []
    assert words(["a"], ["b"]).as_folders().names == ["a", "b"]


def test_more_words_than_classes_can_be_are_no_labels_and_a_note_says_so() -> None:
    with mock.patch.object(classes_module, "MOST_CLASSES", 3):
        found = words(["a", "b"], ["c", "d"], ["e"]).as_folders()
    assert (found.names, encoded(found, "a", "e")) == ([], [-1, -1])
    assert found.notes == (
        "left out labels: there are more than 3 of them, so they are names and no classes; for example a",
    )
