"""What a name says of a file: its kind, its split, its class."""

from __future__ import annotations

import pytest

from swav_ray.data.formats.names import TEST, TRAIN, common_folder, kind_of, split_word, splits_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/B.JPG", "image"),
        ("a.tiff", "image"),
        ("x.pq", "parquet"),
        ("x.parquet", "parquet"),
        ("x.tar", "tar"),
        ("train-images-idx3-ubyte.gz", "idx"),
        ("t10k-labels.idx1-ubyte", "idx"),
        ("x.tar.gz", None),
        ("jpg", None),
        ("notes.txt", None),
    ],
)
def test_a_suffix_says_the_kind_in_any_case(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train/cat/1.jpg", "train"),
        ("Training_set.tar", "train"),
        ("data/validation-00000-of-00004.parquet", "test"),
        ("imagenet-val-000001.tar", "test"),
        ("t10k-images-idx3-ubyte", "test"),
        ("val2017", "test"),
        ("trainstation/1.jpg", None),
        ("latest/1.jpg", None),
    ],
)
def test_a_whole_word_says_the_split(name: str, split: str | None) -> None:
    assert split_word(name) == split


def test_without_a_train_among_them_nothing_is_held_out() -> None:
    assert splits_of(["test", None]) == [TRAIN, TRAIN]
    assert splits_of(["test", None, "train"]) == [TEST, TRAIN, TRAIN]


def test_the_common_folder_is_whole_folders_only() -> None:
    assert common_folder("a/b1/x.jpg", "a/b2/y.jpg") == "a/"
    assert common_folder("ab.jpg", "ac.jpg") == ""
