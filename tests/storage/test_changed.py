"""An object that is written again after its place was listed is told from one that was not, by the server's clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.storage import node_cache
from swav_ray.storage.cached_place import CachedPlace, read_cached_spans
from swav_ray.storage.changed import ChangedBytes, as_listed
from swav_ray.storage.node_cache import NodeCache
from swav_ray.storage.place import Place, place
from swav_ray.storage.ranges import Span, read_spans
from swav_ray.storage.s3 import read

SPANS: list[Span] = [(0, -1, 5), (1, 1, 2), (2, 3, 2)]
NAMES = ["same", "other", "other"]


def write_later(file: Place, data: bytes, newest: float) -> None:
    """Writes a file again and again, until the server's clock, which counts seconds, shows that it is newer."""
    file.write_bytes(data)
    while file.stat().written <= newest:
        file.write_bytes(data)


@pytest.fixture
def listed(s3: str) -> tuple[Place, float]:
    """A place of two objects, of which one was written after the listing; when the newest was as it was listed."""
    root = place(s3)
    for name in ("same", "other"):
        (root / name).write_bytes(b"abcde")
    newest = max(entry.written for entry in root.list())
    write_later(root / "other", b"ABCDE", newest)
    return root, newest


def test_what_was_written_later_is_told_apart_only_if_the_time_of_the_list_is_known() -> None:
    assert isinstance(as_listed(b"a", 11.0, 10.0), ChangedBytes)
    for written, newest in ((10.0, 10.0), (11.0, 0.0), (-1.0, 10.0)):
        assert type(as_listed(b"a", written, newest)) is bytes


@pytest.mark.s3
@pytest.mark.parametrize("through_boto3", [False, True])
def test_a_read_tells_which_objects_were_written_after_the_listing(
    listed: tuple[Place, float], through_boto3: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, newest = listed
    if through_boto3:
        monkeypatch.setattr(read, "addresses", lambda: None)
    answers = list(read_spans(root, NAMES, SPANS, newest))
    assert answers == [b"abcde", b"BC", b"DE"]
    assert [isinstance(answer, ChangedBytes) for answer in answers] == [False, True, True]
    assert not any(isinstance(answer, ChangedBytes) for answer in read_spans(root, NAMES, SPANS))


@pytest.mark.s3
def test_what_was_written_after_the_listing_is_read_and_not_cached(listed: tuple[Place, float], tmp_path: Path) -> None:
    node_cache._state_of.cache_clear()
    root, newest = listed
    cached = CachedPlace(root.uri, NodeCache(str(tmp_path), 64 << 20), "version", newest)
    for _ in range(2):
        assert list(read_cached_spans(cached, NAMES, SPANS)) == [b"abcde", b"BC", b"DE"]
        assert (cached / "other").read_bytes() == b"ABCDE"
        assert (cached / "other").stat().size == 5
    (root / "same").delete()
    (root / "other").write_bytes(b"twice")
    assert list(read_cached_spans(cached, NAMES, SPANS)) == [b"abcde", b"wi", b"ce"]
    assert (cached / "other").read_bytes() == b"twice"


@pytest.mark.s3
def test_a_listing_and_a_read_agree_on_when_an_object_was_written(s3: str) -> None:
    """Else an object that nobody has touched would pass for a changed one."""
    root = place(s3)
    (root / "a").write_bytes(b"a")
    (entry,) = root.list()
    assert entry.written == pytest.approx((root / "a").stat().written, abs=1.0)
    (answer,) = read_spans(root, ["a"], [(0, -1, 1)], entry.written)
    assert type(answer) is bytes
