"""A place on S3 is read once by a node; what has changed, is damaged or was evicted is read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.storage import node_cache
from swav_ray.storage.cached_place import CachedPlace, read_cached_spans
from swav_ray.storage.node_cache import NodeCache
from swav_ray.storage.place import place, stats
from swav_ray.storage.ranges import Span

pytestmark = pytest.mark.s3
NAMES = ["a", "b", "b", "b", "missing", "c"]
SPANS: list[Span] = [(0, -1, 5), (1, 10, 20), (2, 100, 7), (3, 990, 20), (4, -1, 3), (5, -1, -1)]


@pytest.fixture
def cached(s3: str, tmp_path: Path) -> CachedPlace:
    for name, data in {"a": b"aaaaa", "b": bytes(range(250)) * 4, "c": b"no length"}.items():
        (place(s3) / name).write_bytes(data)
    node_cache._state_of.cache_clear()
    return CachedPlace(s3, NodeCache(str(tmp_path), 64 << 20), "version 1")


def answers(root: CachedPlace) -> list[bytes | str]:
    found = read_cached_spans(root, NAMES, SPANS)
    return [type(one).__name__ if isinstance(one, Exception) else one for one in found]


def requests() -> int:
    return stats()["requests"]


EXPECTED = [b"aaaaa", bytes(range(10, 30)), bytes(range(100, 107)), "EOFError", "FileNotFoundError", b"no length"]


def test_the_second_read_asks_only_for_what_failed(cached: CachedPlace) -> None:
    assert answers(cached) == EXPECTED
    (place(cached.uri) / "a").delete()
    (place(cached.uri) / "missing").write_bytes(b"now")
    assert answers(cached) == [*EXPECTED[:4], b"now", EXPECTED[5]]
    before = requests()
    list(read_cached_spans(cached, NAMES[:3], SPANS[:3]))
    assert requests() == before


def test_spans_are_found_however_they_were_read_together(cached: CachedPlace) -> None:
    list(read_cached_spans(cached, ["b", "b"], [(0, 100, 7), (1, 10, 20)]))
    before = requests()
    assert list(read_cached_spans(cached, ["b"], [(0, 10, 20)])) == [EXPECTED[1]]
    assert requests() == before


def test_another_version_of_the_place_is_read_from_it(cached: CachedPlace) -> None:
    answers(cached)
    (place(cached.uri) / "a").write_bytes(b"AAAAA")
    assert answers(cached)[0] == b"aaaaa"
    assert answers(CachedPlace(cached.uri, cached.cache, "version 2"))[0] == b"AAAAA"


def test_a_file_that_has_grown_since_it_was_indexed_is_not_cached(cached: CachedPlace) -> None:
    (place(cached.uri) / "a").write_bytes(b"aaaaa and more")
    assert answers(cached)[0] == b"aaaaa and more"
    (place(cached.uri) / "a").write_bytes(b"aaaaa")
    assert answers(cached)[0] == b"aaaaa"


def test_a_damaged_entry_is_read_again_and_replaced(cached: CachedPlace) -> None:
    answers(cached)
    for file in Path(cached.cache.folder).rglob("*"):
        if file.is_file() and file.name != "usage":
            file.write_bytes(file.read_bytes()[:-1])
    assert answers(cached) == EXPECTED
    before = requests()
    list(read_cached_spans(cached, NAMES[:3], SPANS[:3]))
    assert requests() == before


def test_a_cache_that_cannot_be_used_costs_nothing_but_requests(cached: CachedPlace, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    broken = CachedPlace(cached.uri, NodeCache(str(tmp_path / "file"), 64 << 20), "version 1")
    assert answers(broken) == answers(broken) == EXPECTED
    assert (broken / "b").read_range(10, 20) == EXPECTED[1]
    assert (broken / "b").stat().size == 1000


def test_files_and_their_sizes_are_asked_for_once(cached: CachedPlace) -> None:
    first = (cached / "b").stat(), (cached / "b").read_bytes(), (cached / "b").read_range(10, 20)
    before = requests()
    assert ((cached / "b").stat(), (cached / "b").read_bytes(), (cached / "b").read_range(10, 20)) == first
    assert requests() == before
    assert first[1:] == (bytes(range(250)) * 4, EXPECTED[1])
