"""A list of samples in many files: the same rows as in memory, through any number of files, and damage is told."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from swav_ray.data.formats.names import TEST, TRAIN
from swav_ray.data.formats.rows import SCHEMA
from swav_ray.data.indexing import partitions
from swav_ray.data.indexing.partitions import Partitions, PartitionWriter
from swav_ray.data.order.selected_ids import Evenly, HeldOut, NotHeldOut, SplitIds
from swav_ray.storage.place import PlaceError, place

ROWS = 95


def a_list(rows: int = ROWS) -> pa.Table:
    ids = np.arange(rows)
    columns = {
        "uri": pa.array([f"n{i % 7}/{i}.jpg" for i in ids]),
        "offset": np.full(rows, -1),
        "length": ids * 10 + 1,
        "row_group": np.full(rows, -1, np.int32),
        "row": np.full(rows, -1, np.int32),
        "label": np.where(ids % 3 == 0, -1, ids % 7).astype(np.int32),
        "split": np.where((ids > 20) & (ids % 4 == 0), TEST, TRAIN).astype(np.int8),
        "content": ids.astype(np.uint64),
    }
    return pa.table(columns, schema=SCHEMA)


def written(table: pa.Table, folder: Path, file_rows: int = 10, step: int = 7) -> Partitions:
    writer = PartitionWriter(place(str(folder)), file_rows)
    for start in range(0, table.num_rows, step):
        writer.write(table.slice(start, step))
    return writer.close()


@pytest.mark.parametrize("rows", [1, 9, 10, 11, ROWS])
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_rows_come_back_in_the_order_asked_for(tmp_path: Path, rows: int, step: int) -> None:
    table = a_list(rows)
    found = written(table, tmp_path, step=step)
    assert found.num_rows == rows
    ids = np.random.default_rng(0).integers(0, rows, 200)
    assert found.take(ids).equals(table.take(pa.array(ids)).combine_chunks())
    assert found.take(np.empty(0, np.int64)).num_rows == 0
    assert found["label"].to_pylist() == table["label"].to_pylist()


def test_no_row_outside_the_list_is_answered(tmp_path: Path) -> None:
    found = written(a_list(), tmp_path)
    for outside in (-1, ROWS):
        with pytest.raises(IndexError, match=f"0 to {ROWS - 1}, not {outside}"):
            found.take(np.array([outside]))


def test_what_is_held_says_of_each_file_what_it_has(tmp_path: Path) -> None:
    table = a_list()
    found = written(table, tmp_path)
    again = Partitions.of(found.header(), found.folder, found.num_rows, found.file_rows)
    assert np.array_equal(again.in_split, found.in_split)
    split, label = table["split"].to_numpy(), table["label"].to_numpy()
    for which in (TRAIN, TEST):
        for labelled in (False, True):
            chosen = (split == which) & (label >= 0 if labelled else True)
            expected = [int(chosen[start : start + 10].sum()) for start in range(0, ROWS, 10)]
            assert found.counts(which, labelled=labelled).tolist() == expected
            ids = SplitIds(found, which, labelled=labelled)
            assert np.array_equal(ids[np.arange(len(ids))], np.flatnonzero(chosen))


def test_a_list_of_one_split_is_told_without_reading_a_file(tmp_path: Path) -> None:
    table = a_list()
    index = table.schema.get_field_index("split")
    found = written(table.set_column(index, "split", pa.array(np.zeros(ROWS, np.int8))), tmp_path)
    for file in tmp_path.rglob("*.parquet"):
        file.unlink()
    assert SplitIds(found, TRAIN)[np.arange(ROWS)].tolist() == list(range(ROWS))


def test_a_task_gets_few_bytes_of_a_long_list(tmp_path: Path) -> None:
    found = written(a_list(5000), tmp_path, file_rows=50, step=500)
    assert len(pickle.dumps(found)) < 100 * 8 + 1000


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "other"])
def test_a_file_that_is_damaged_or_gone_is_named(tmp_path: Path, damage: str) -> None:
    found = written(a_list(), tmp_path)
    file = sorted(tmp_path.rglob("*.parquet"))[3]
    data = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[20] ^= 1
        file.write_bytes(data)
    else:
        file.write_bytes(sorted(tmp_path.rglob("*.parquet"))[-1].read_bytes())  # with fewer rows
    assert found.take(np.array([0, 29, 40])).num_rows == 3
    with pytest.raises(
        PlaceError, match=f"{file.name}: a part of the list of images is (missing|damaged).*again"
    ) as told:
        found.take(np.array([0, 35]))
    assert "\n" not in str(told.value)


def test_memory_for_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = partitions._Cache(4000)
    monkeypatch.setattr(partitions, "_CACHE", cache)
    found = written(a_list(2000), tmp_path, file_rows=20, step=500)
    for start in range(0, 2000, 100):
        assert found.take(np.arange(start, start + 100))["length"].to_pylist()[0] == start * 10 + 1
        assert cache._bytes <= 4000 + 2000
    assert sum(table.nbytes for table in cache._tables.values()) == cache._bytes


def test_evenly_and_the_two_sides_of_a_fraction_are_what_they_say(tmp_path: Path) -> None:
    train = SplitIds(written(a_list(), tmp_path), TRAIN)
    ids = train[np.arange(len(train))]
    some = Evenly(train, 10)
    assert some[np.arange(len(some))].tolist() == ids[np.arange(10) * len(ids) // 10].tolist()
    for every in (2, 3, 7, len(train), len(train) + 1):
        kept, held = NotHeldOut(train, every), HeldOut(train, every)
        both = kept[np.arange(len(kept))], held[np.arange(len(held))]
        assert len(held) == len(train) // every
        assert np.array_equal(np.sort(np.concatenate(both)), ids)
        assert all((np.diff(side) > 0).all() for side in both)


def test_what_is_held_out_lies_at_no_fixed_distance(tmp_path: Path) -> None:
    train = SplitIds(written(a_list(3000), tmp_path, file_rows=1000, step=1000), TRAIN)
    held = HeldOut(train, 10)
    gaps = np.bincount(np.searchsorted(train[np.arange(len(train))], held[np.arange(len(held))]) % 10, minlength=10)
    assert gaps.min() > 0.4 * gaps.mean()
