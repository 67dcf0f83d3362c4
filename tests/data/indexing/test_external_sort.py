"""Names come out in bytewise order, whatever the order they came in and however few fit into memory."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest

from swav_ray.data.indexing import external_sort, temporary
from swav_ray.data.indexing.external_sort import ExternalSort, SortedRows
from swav_ray.data.manifest import build
from tests.data.images import write_files, write_parquet, write_photos, write_tar


def sorted_in_runs(names: list[str], run: int, block: int = 3, most: int = 4) -> SortedRows:
    with mock.patch.multiple(external_sort, RUN_ROWS=run, _BLOCK_ROWS=block, _MOST_RUNS=most):
        sort = ExternalSort()
        for start in range(0, len(names), 5):
            part = names[start : start + 5]
            sort.add(pa.record_batch({"name": pa.array(part), "size": pa.array(map(len, part), pa.int64())}))
        return sort.sorted()


@pytest.mark.parametrize("run", [5, 10, 1000])
@pytest.mark.parametrize("order", ["shuffled", "sorted", "backwards"])
def test_runs_are_merged_in_bytewise_order(run: int, order: str) -> None:
    names = sorted({f"{'äz/'[n % 3]}{n * 7919 % 1009}é\U0001f600" for n in range(200)}, key=str.encode)
    given = list(names) if order != "backwards" else names[::-1]
    if order == "shuffled":
        np.random.default_rng(0).shuffle(given)
    found = sorted_in_runs(given, run)
    for _ in range(2):  # it can be read again
        assert [name for table in found.tables() for name in table["name"].to_pylist()] == names
    assert all(row["size"] == len(row["name"]) for table in found.tables() for row in table.to_pylist())
    assert (found.num_rows, found.first, found.last) == (len(names), names[0], names[-1])


def test_what_was_laid_aside_is_gone_with_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary.tempfile, "tempdir", str(tmp_path))
    found = sorted_in_runs([str(n) for n in range(50)], run=10)
    assert len(list(tmp_path.rglob("*.arrow"))) > 1
    del found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folders", "shards", "tars"])
def test_an_index_that_does_not_fit_into_memory_is_the_same(tmp_path: Path, kind: str) -> None:
    if kind == "folders":
        write_photos(tmp_path)
        write_files(tmp_path, {"unlabeled/x.jpg": b"x", "readme.txt": b"x"})
    elif kind == "shards":
        for name in ("train-0", "train-1", "val-0"):
            write_parquet(tmp_path / f"{name}.parquet", 5, label=[3, 1, None, -1, 2])
    else:
        for name in ("train-0", "train-1", "val-0"):
            write_tar(tmp_path / f"{name}.tar", {"a.jpg": b"x", "a.cls": name.encode(), "b.jpg": b"y", "notes": b""})
    whole = build(str(tmp_path))
    few = {"RUN_ROWS": 4, "_BLOCK_ROWS": 2, "_MOST_RUNS": 2}
    with mock.patch.multiple(external_sort, **few), mock.patch.object(temporary, "_MOST_BYTES", 1):
        assert build(str(tmp_path)) == whole
