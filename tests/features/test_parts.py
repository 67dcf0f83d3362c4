"""Parts of a table are whole or absent, and what is missing is the work that is left."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from swav_ray.features.parts import Parts, claim
from swav_ray.storage.place import place


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(place(tmp_path) / "t", 10, 4)


def table(*values: int) -> pa.Table:
    return pa.table({"a": list(values), "b": list(values)})


def test_the_last_part_has_the_rows_that_are_left(parts: Parts) -> None:
    assert [parts.span(part) for part in range(len(parts))] == [slice(0, 4), slice(4, 8), slice(8, 10)]


def test_missing_is_what_was_not_written_or_is_to_be_tried_again(parts: Parts) -> None:
    assert parts.missing() == [0, 1, 2]
    parts.write(1, table(1))
    parts.write(2, table(2), again=True)
    assert (parts.missing(), parts.to_try_again()) == ([0, 2], [2])
    assert parts.read(2, ["b"]).to_pydict() == {"b": [2]}
    parts.write(2, table(3))
    assert (parts.missing(), parts.to_try_again()) == ([0], [])
    assert parts.read(2).to_pydict() == {"a": [3], "b": [3]}
    assert len(list(parts.folder.list())) == 2


def test_a_part_that_is_not_there_is_named(parts: Parts) -> None:
    parts.write(0, table(1))
    parts.delete(0)
    with pytest.raises(FileNotFoundError, match=r"part-000000\.parquet: is missing"):
        parts.read(0)


def test_a_folder_is_claimed_once(tmp_path: Path) -> None:
    about = place(tmp_path) / "about.json"
    assert claim(about, {"of": (1, 2)})
    assert claim(about, {"of": [1, 2]})
    assert not claim(about, {"of": (1, 3)})
