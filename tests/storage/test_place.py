"""A place is the same word for local paths and S3: what is written is read, what is missing is said in one line."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path

import pytest

from swav_ray.storage.place import Place, PlaceError, place, stats

BOTH = pytest.mark.parametrize("kind", ["local", pytest.param("s3", marks=pytest.mark.s3)])


@pytest.fixture
def root(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return place(tmp_path / "root") if kind == "local" else place(request.getfixturevalue("s3")) / "root"


@BOTH
def test_what_is_written_is_read_whole_and_in_ranges(root: Place) -> None:
    path = root / "a" / "b.bin"
    assert not path.exists()
    path.write_bytes(b"0123456789")
    path.write_bytes(b"abcdefghij")
    assert path.read_bytes() == b"abcdefghij"
    assert path.read_range(2, 3) == b"cde"
    assert path.read_range(8, 10) == b"ij"
    assert path.read_range(20, 5) == b""
    assert path.exists()
    assert (root / "a").exists()
    assert path.is_file()
    assert not (root / "a").is_file()
    assert path.stat().size == 10


@BOTH
def test_listing_is_recursive_with_relative_names_and_sizes(root: Place) -> None:
    for name in ("x", "a/y", "a/b/z"):
        (root / name).write_bytes(name.encode())
    assert {(entry.name, entry.size) for entry in root.list()} == {("x", 1), ("a/y", 3), ("a/b/z", 5)}
    assert {entry.name for entry in (root / "a").list()} == {"y", "b/z"}
    assert list((root / "nothing").list()) == []


@BOTH
def test_a_changed_file_lists_with_another_version(root: Place) -> None:
    (root / "x").write_bytes(b"1")
    (before,) = root.list()
    time.sleep(0.01)
    (root / "x").write_bytes(b"2")
    (after,) = root.list()
    assert before.etag_or_mtime != after.etag_or_mtime


@BOTH
def test_a_prefix_is_not_the_start_of_a_name(root: Place) -> None:
    (root / "set10" / "x").write_bytes(b"1")
    assert not (root / "set1").exists()
    assert list((root / "set1").list()) == []


@BOTH
def test_deleting_is_quiet_about_what_is_not_there(root: Place) -> None:
    for i in range(3):
        (root / f"t/{i}").write_bytes(b"x")
    (root / "t/0").delete()
    (root / "t/0").delete()
    assert {entry.name for entry in root.list()} == {"t/1", "t/2"}
    (root / "t").delete_tree()
    (root / "t").delete_tree()
    assert not (root / "t").exists()


@BOTH
def test_files_of_many_parts_arrive_as_they_were(root: Place, tmp_path: Path) -> None:
    data = os.urandom(40 << 20)
    (tmp_path / "here").write_bytes(data)
    (root / "there").upload_file(tmp_path / "here")
    (root / "there").download_file(tmp_path / "deep" / "back")
    assert (tmp_path / "deep" / "back").read_bytes() == data


@BOTH
def test_a_missing_file_is_named_in_one_line(root: Place, tmp_path: Path) -> None:
    for read in (Place.read_bytes, Place.stat, lambda p: p.download_file(tmp_path / "x")):
        with pytest.raises(FileNotFoundError, match=r"/nope: no such (file|object)$"):
            read(root / "nope")
    assert not (tmp_path / "x").exists()


@BOTH
def test_bytes_read_are_counted(root: Place) -> None:
    (root / "x").write_bytes(bytes(1000))
    before = stats()["bytes_read"]
    (root / "x").read_range(0, 300)
    assert stats()["bytes_read"] == before + 300


@BOTH
def test_reading_ahead_means_the_same_on_both(root: Place) -> None:
    (root / "a").write_bytes(b"0123456789")
    (root / "b" / "c").write_bytes(b"abc")
    requests = [
        ("b/c", None),
        ("a", (2, 3)),
        ("nope", None),
        ("a", (8, 10)),
        ("a", (20, 5)),
        ("a", (3, 0)),
        ("a", None),
    ]
    found = list(root.read_ahead(requests))
    assert str(found.pop(2)).endswith(("/nope: no such file", "/nope: no such object"))
    assert found == [b"abc", b"234", b"89", b"", b"", b"0123456789"]
    assert list(root.read_ahead([])) == []


def test_local_files_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    answers = place(tmp_path).read_ahead([("a", None), ("b", None)])
    assert next(answers) == b"a"
    (tmp_path / "b").write_bytes(b"later")
    assert next(answers) == b"later"


def test_a_version_is_a_thing_of_s3(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"/x: not on S3$"):
        (place(tmp_path) / "x").write_if_version(b"", None)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place(tmp_path) / "x"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        path.write_bytes(b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in place(tmp_path).list() if entry.name != "x"] == []


@pytest.mark.parametrize(
    ("word", "uri"),
    [
        ("/a/b/", "/a/b"),
        ("/a/./b//c", "/a/b/c"),
        ("file:///a/b", "/a/b"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/a//b/", "s3://bucket/a/b"),
    ],
)
def test_one_place_has_one_name(word: str, uri: str) -> None:
    assert place(word).uri == uri
    assert place(place(word).uri) == place(word)
    assert pickle.loads(pickle.dumps(place(word))) == place(word)


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place("data").local_path == tmp_path / "data"
    assert place("~/x").local_path == Path.home() / "x"


@pytest.mark.parametrize("word", ["http://host/x", "s3://", "s3:///x", ""])
def test_other_schemes_and_missing_buckets_are_refused(word: str) -> None:
    with pytest.raises(PlaceError, match=r"s3://bucket/prefix$") as caught:
        place(word)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "advice"), [("gs://b/x", "AWS_ENDPOINT_URL=https://storage.googleapis.com"), ("abfss://b/x", "mount it")]
)
def test_other_clouds_are_refused_with_what_to_do(word: str, advice: str) -> None:
    with pytest.raises(PlaceError, match=advice):
        place(word)


@pytest.mark.parametrize("word", ["s3a://b/x", "S3://b/x", "S3A://b/x/"])
def test_other_spellings_of_s3_are_s3(word: str) -> None:
    assert place(word).uri == "s3://b/x"


def test_a_place_whose_name_is_not_utf_8_is_refused_in_one_line() -> None:
    with pytest.raises(PlaceError, match="its name is not UTF-8; rename it") as caught:
        place(os.fsdecode(b"/data/\xff"))
    str(caught.value).encode()


def test_parents_and_names() -> None:
    assert (place("s3://b/x/y").parent, place("s3://b/x/y").name) == (place("s3://b/x"), "y")
    assert (place("s3://b").parent, place("s3://b").name) == (place("s3://b"), "")
    assert (place("/x").parent, place("/x").name) == (place("/"), "x")
