"""Many ranges of many files: neighbours in one request, each span what was asked for, in the order of asking."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from swav_ray.storage import ranges
from swav_ray.storage.place import place
from swav_ray.storage.ranges import RangeFile, in_order, read_spans


def test_groups_are_asked_for_when_their_first_position_is_due() -> None:
    asked: list[str] = []

    def groups() -> Iterator[list[str]]:
        for name in ("a", "b"):
            asked.append(name)
            yield [name, name]

    seen = [(answer, list(asked)) for answer in in_order([[0, 3], [1, 2]], groups())]
    assert seen == [("a", ["a"]), ("b", ["a", "b"]), ("b", ["a", "b"]), ("a", ["a", "b"])]


@pytest.mark.parametrize("gap", [0, 10])
def test_spans_are_what_was_asked_for_in_any_order(tmp_path: Path, gap: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "LARGEST_GAP", gap)
    draw = random.Random(0)
    data = {name: draw.randbytes(1000) for name in ("a", "b", "c")}
    for name, content in data.items():
        (tmp_path / name).write_bytes(content)
    asked = [(draw.choice("abc"), draw.choice([-1, draw.randrange(900)]), draw.randrange(100)) for _ in range(200)]
    spans = [(index, offset, -1 if offset < 0 else length) for index, (_, offset, length) in enumerate(asked)]
    found = list(read_spans(place(tmp_path), [name for name, _, _ in asked], spans))
    assert found == [data[name] if start < 0 else data[name][start : start + length] for name, start, length in asked]


def test_neighbours_are_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(bytes(300_000))
    asked: list[object] = []
    root = place(tmp_path)
    read_ahead = type(root).read_ahead
    monkeypatch.setattr(
        type(root), "read_ahead", lambda self, r, newest: asked.extend(r) or read_ahead(self, r, newest)
    )
    assert list(read_spans(root, ["a"] * 3, [(0, 200_000, 5), (1, 10, 5), (2, 100, 5)])) == [bytes(5)] * 3
    assert asked == [("a", (200_000, 5)), ("a", (10, 95))]


def test_one_that_is_missing_or_short_is_an_answer(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    names, spans = ["a", "gone", "a", "gone"], [(0, 8, 4), (1, 0, 1), (2, 0, 2), (3, -1, -1)]
    short, missing, good, also_missing = read_spans(place(tmp_path), names, spans)
    assert isinstance(short, EOFError)
    assert str(short).endswith("/a: gave 2 bytes of the 4 it had when it was indexed")
    assert good == b"01"
    assert isinstance(missing, FileNotFoundError)
    assert isinstance(also_missing, FileNotFoundError)


def test_a_file_of_ranges_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    file = RangeFile(place(tmp_path) / "a", 10)
    assert file.read(3) == b"012"
    assert file.seek(-2, io.SEEK_END) == 8
    assert file.read() == b"89"
    assert file.read(5) == b""
    file.seek(4)
    assert io.BufferedReader(file).read(2) == b"45"
