"""Held out is the data set's own test split, or a fraction of it; without labels nothing is."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest

from swav_ray.config import ConfigError, DataConfig
from swav_ray.data.formats.names import TEST, TRAIN
from swav_ray.data.formats.rows import Rows
from swav_ray.data.holdout import (
    check_new,
    evenly,
    has_labels,
    labelled,
    split,
    split_ids,
    twins,
    why_none,
    with_twins,
)
from swav_ray.data.manifest import Manifest, save
from swav_ray.storage.place import place


def manifest(labels: list[int], splits: list[int] | None = None) -> Manifest:
    uris = [f"{i}.jpg" for i in range(len(labels))]
    return Manifest(Rows(uri=uris, label=labels, split=splits).table(), "/x", ["a", "b"], "")


def test_the_test_split_of_the_data_set_is_held_out() -> None:
    train, held_out = split(manifest([0, 1, 0, 1, -1], [0, 0, 1, 1, 1]), DataConfig())
    assert train.tolist() == [0, 1]
    assert held_out.tolist() == [2, 3]  # the last has no label to judge by


def test_else_a_fraction_is_always_the_same_one() -> None:
    whole = manifest([0, 1] * 50)
    train, held_out = split(whole, DataConfig(holdout_fraction=0.2))
    assert len(held_out) == 20
    assert sorted([*train, *held_out]) == list(range(100))
    assert (np.diff(train) > 0).all()
    assert (np.diff(held_out) > 0).all()
    again = split(whole, DataConfig(holdout_fraction=0.2))
    assert np.array_equal(again[0], train)
    assert np.array_equal(again[1], held_out)


def test_a_fraction_needs_labels_and_no_fraction_needs_none() -> None:
    unlabelled = manifest([-1, -1])
    with pytest.raises(ConfigError, match=r"data.holdout_fraction.*needs labels"):
        split(unlabelled, DataConfig(holdout_fraction=0.5))
    train, held_out = split(unlabelled, DataConfig(holdout_fraction=0.0))
    assert (train.tolist(), held_out.tolist()) == ([0, 1], [])


def test_a_limit_takes_training_images_from_the_whole_range() -> None:
    train, _ = split(manifest([0] * 50 + [1] * 50), DataConfig(holdout_fraction=0.0, limit=10))
    assert train.tolist() == list(range(0, 100, 10))


def test_evenly_takes_all_of_few() -> None:
    ids = np.array([3, 5, 8])
    assert evenly(ids, 0).tolist() == evenly(ids, 3).tolist() == evenly(ids, 9).tolist() == [3, 5, 8]
    assert evenly(np.arange(10), 3).tolist() == [0, 3, 6]


def test_a_fraction_beside_a_test_split_is_refused_and_not_ignored() -> None:
    with pytest.raises(ConfigError, match=r"a test split of their own \(2\), which is held out; set it to 0$"):
        check_new(manifest([0, 1, 0, 1], [0, 0, 1, 1]), DataConfig(holdout_fraction=0.1))
    with pytest.raises(ConfigError, match=r"give its labels by data\.labels"):
        check_new(manifest([0, 1, -1, -1], [0, 0, 1, 1]), DataConfig(holdout_fraction=0.1))
    check_new(manifest([0, 1, 0, 1]), DataConfig(holdout_fraction=0.1))
    check_new(manifest([0, 1, 0, 1], [0, 0, 1, 1]), DataConfig())


@pytest.mark.parametrize(
    ("labels", "splits", "why"),
    [
        ([0, 1, -1, -1], [0, 0, 1, 1], "none of the 2 test images has a label.*data.labels FILE"),
        ([0, 1], [0, 0], "no images are held out.*data.holdout_fraction 0.1"),
        ([-1, -1], [0, 0], "the images have no labels.*data.labels FILE"),
    ],
)
def test_why_there_is_no_knn_is_said_with_what_to_do(labels: list[int], splits: list[int], why: str) -> None:
    assert re.match(why, why_none(manifest(labels, splits)))


def test_a_test_image_that_is_a_copy_of_a_training_image_is_not_held_out_and_counted() -> None:
    whole = manifest([0, 1, 0, 1, -1], [0, 0, 1, 1, 1]).with_contents(np.array([5, 6, 5, 7, 6], np.uint64))
    train, held_out = split(whole, DataConfig())
    assert (train.tolist(), held_out.tolist()) == ([0, 1], [3])
    assert twins(whole, DataConfig()) == 1  # the last one has no label, so it is not left out for that
    assert twins(manifest([0, 1, 0, 1], [0, 0, 1, 1]), DataConfig()) == 0


def test_a_copy_of_an_image_that_is_not_trained_on_is_held_out() -> None:
    whole = manifest([0, 1, 0, 1], [0, 0, 1, 1]).with_contents(np.array([5, 6, 6, 7], np.uint64))
    assert split(whole, DataConfig(limit=1))[1].tolist() == [2, 3]
    assert split(whole, DataConfig())[1].tolist() == [3]


def test_if_all_test_images_are_copies_that_is_why_there_is_no_knn() -> None:
    whole = manifest([0, 1, 0], [0, 0, 1]).with_contents(np.array([5, 6, 6], np.uint64))
    assert split(whole, DataConfig())[1].tolist() == []
    assert why_none(whole) == "every test image that has a label is a copy of a training image, so there is no kNN"


def partitioned(whole: Manifest, folder: Path) -> Manifest:
    folder = Path(tempfile.mkdtemp(dir=folder))  # a process holds what it has read of a folder
    return save(whole, place(str(folder)) / "list.parquet", most_in_memory=0)


def test_a_list_in_partitions_has_the_split_of_the_same_list_in_memory(tmp_path: Path) -> None:
    whole = manifest([0, 1, 0, 1, -1] * 40, ([0, 0, 1, 1, 1] * 40))
    for data in (DataConfig(), DataConfig(limit=7)):
        train, held_out = split_ids(partitioned(whole, tmp_path), data)
        expected = split(whole, data)
        assert evenly(train, 0).tolist() == expected[0].tolist()
        assert evenly(held_out, 0).tolist() == expected[1].tolist()
        assert evenly(train, 5).tolist() == evenly(expected[0], 5).tolist()


def test_of_a_list_in_partitions_a_fraction_is_held_out_too(tmp_path: Path) -> None:
    found = partitioned(manifest([0, 1] * 50), tmp_path)
    train, held_out = split_ids(found, DataConfig(holdout_fraction=0.2))
    assert len(held_out) == 20
    assert sorted([*evenly(train, 0), *evenly(held_out, 0)]) == list(range(100))
    with pytest.raises(ConfigError, match=r"data.holdout_fraction.*needs labels"):
        split_ids(partitioned(manifest([-1, -1]), tmp_path), DataConfig(holdout_fraction=0.5))


def test_what_is_counted_of_a_list_does_not_depend_on_where_it_lies(tmp_path: Path) -> None:
    for labels, splits in (([0, 1, -1, 1], [0, 0, 0, 1]), ([-1, -1], None), ([-1, 0], [1, 0])):
        whole = manifest(labels, splits)
        found = partitioned(whole, tmp_path)
        assert why_none(found) == why_none(whole)
        for which in (TRAIN, TEST):
            for with_label in (False, True):
                assert found.count(which, labelled=with_label) == whole.count(which, labelled=with_label)
        ids = split_ids(found, DataConfig())[0], split(whole, DataConfig())[0]
        assert has_labels(found, ids[0]) == has_labels(whole, ids[1])
        assert labelled(found, ids[0], 2).tolist() == labelled(whole, ids[1], 2).tolist()


def test_copies_among_too_many_images_are_said_to_be_unknown(tmp_path: Path) -> None:
    found = partitioned(manifest([0, 1, 0, 1], [0, 0, 1, 1]), tmp_path)
    assert with_twins(found, DataConfig())[1] == "byte-identical images among 4 are not searched for"
    assert twins(found, DataConfig()) == 0
    assert with_twins(partitioned(manifest([0, 1]), tmp_path), DataConfig())[1] == ""
