"""A place has one list of samples, whoever lists it and in whatever order; it is cached until the place changes."""

from __future__ import annotations

import logging
import pickle
import string
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swav_ray.data import manifest as manifest_module
from swav_ray.data.formats import listing
from swav_ray.data.formats.rows import RowStream
from swav_ray.data.indexing.partitions import Partitions
from swav_ray.data.looks import Looks
from swav_ray.data.manifest import PlaceError, build, cached_at, load, load_or_build, save
from swav_ray.data.sources import read_samples
from swav_ray.storage.place import Entry, place
from tests.data.images import image, write_files, write_parquet, write_photos

PARTS = st.text(string.ascii_letters + string.digits + "_ é", min_size=1, max_size=6).filter(lambda p: p.strip() == p)
NAMES = st.lists(st.lists(PARTS, min_size=1, max_size=3).map(lambda p: f"{'/'.join(p)}.jpg"), min_size=1, unique=True)


def listed(names: list[str]) -> mock._patch:  # type: ignore[type-arg]
    return pages([Entry(n, len(n), f"v-{n}") for n in names])


def pages(entries: list[Entry]) -> mock._patch:  # type: ignore[type-arg]
    return mock.patch.object(listing, "pages_of", return_value=[entries])


@pytest.fixture(autouse=True)
def _no_image_is_looked_at(request: pytest.FixtureRequest) -> Iterator[None]:
    """The listings that hypothesis draws are of files that nobody wrote."""
    if "hypothesis" not in request.keywords:
        yield
        return
    with mock.patch.object(manifest_module, "look", return_value=Looks()):
        yield


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(names=NAMES, data=st.data())
def test_the_order_of_the_listing_changes_nothing(names: list[str], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(names))
    with listed(names):
        one = build("s3://bucket/x")
    with listed(shuffled):
        other = build("s3://bucket/x")
    assert one.table.equals(other.table)
    assert (one.classes, one.fingerprint) == (other.classes, other.fingerprint)
    assert sorted(one.table["uri"].to_pylist(), key=str.encode) == one.table["uri"].to_pylist()
    assert sorted(names) == sorted(one.table["uri"].to_pylist())


@settings(max_examples=30)
@given(names=NAMES, data=st.data())
def test_any_change_of_a_file_changes_the_fingerprint(names: list[str], data: st.DataObject) -> None:
    victim = data.draw(st.sampled_from(names))
    with listed(names):
        before = build("s3://bucket/x").fingerprint
    entries = [Entry(n, len(n), f"v-{n}" if n != victim else "another") for n in names]
    with pages(entries):
        assert build("s3://bucket/x").fingerprint != before


def test_a_cached_manifest_serves_until_the_place_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images, cache = (
        write_files(tmp_path / "images", {f"{c}/{i}.jpg": b"x" for c in "ab" for i in range(3)}),
        place(tmp_path / "cache"),
    )
    first = load_or_build(str(images), cache)
    with mock.patch.object(manifest_module, "_index", side_effect=AssertionError("indexed again")):
        assert load_or_build(str(images), cache) == first
    assert not caplog.records
    write_files(images, {"b/9.jpg": b"y"})
    with caplog.at_level(logging.WARNING, "swav_ray.data"):
        assert len(load_or_build(str(images), cache)) == 7
    assert "has changed since it was indexed: 7 images, before 6" in caplog.text
    cached_at(str(images), cache).write_bytes(b"damaged")
    assert len(load_or_build(str(images), cache)) == 7


def test_a_saved_manifest_comes_back(tmp_path: Path) -> None:
    write_files(tmp_path / "images", {"a/1.jpg": b"x", "b/1.jpg": b"x", "b/c.txt": b""})
    made = build(str(tmp_path / "images"))
    save(made, place(tmp_path / "m.parquet"))
    assert load(place(tmp_path / "m.parquet")) == made
    with pytest.raises(PlaceError, match="is not a manifest"):
        load(place(write_parquet(tmp_path / "other.parquet", 2)))


def test_a_slice_is_small_and_keeps_its_order(tmp_path: Path) -> None:
    with listed([f"c{i % 10}/{i:06d}.jpg" for i in range(50_000)]):
        whole = build(str(tmp_path))
    ids = np.array([40_000, 3, 7])
    part = whole.take(ids)
    assert [part.uri_of(i) for i in range(3)] == [whole.uri_of(i) for i in ids]
    assert part.labels.tolist() == whole.labels[ids].tolist()
    assert len(pickle.dumps(part)) < 10_000


def test_progress_is_reported(tmp_path: Path) -> None:
    seen: list[int] = []
    with listed([f"{i}.jpg" for i in range(2500)]):
        build(str(tmp_path), progress=seen.append)
    assert seen == [1000, 2000, 2500]


def test_a_list_in_partitions_is_loaded_without_its_rows_and_has_all_of_them(tmp_path: Path) -> None:
    write_files(tmp_path / "images", {f"{number}.png": image(number, "PNG") for number in range(9)})
    found = build(str(tmp_path / "images"))
    file = place(str(tmp_path / "cache")) / "list.parquet"
    stored = save(found, file, most_in_memory=8)
    assert isinstance(stored.table, Partitions)
    again = load(file)
    assert isinstance(again.table, Partitions)
    assert len(again) == 9
    assert again.in_memory().table.equals(found.table)
    ids = np.array([7, 0, 7])
    assert again.take(ids).table.equals(found.take(ids).table)
    assert again.uri_of(3) == found.uri_of(3)
    assert (again.fingerprint, again.classes, again.looks) == (found.fingerprint, found.classes, found.looks)
    for sample, other in zip(read_samples(again, ids), read_samples(found, ids), strict=True):
        assert sample == other
    copy = file.parent / "run" / "manifest.parquet"
    save(again, copy)
    assert load(copy).take(ids).table.equals(found.take(ids).table)
    assert isinstance(save(found, file, most_in_memory=9).table, pa.Table)


def test_a_place_of_too_many_samples_is_indexed_into_partitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_photos(tmp_path / "images")
    whole = build(str(images))
    monkeypatch.setattr(manifest_module, "MOST_IN_MEMORY", 10)
    with mock.patch.object(RowStream, "table", side_effect=AssertionError("all rows at once")):
        found = load_or_build(str(images), place(str(tmp_path / "cache")))
    assert isinstance(found.table, Partitions)
    assert found.in_memory().table.equals(whole.table)
    assert (found.classes, found.looks, found.notes) == (whole.classes, whole.looks, whole.notes)
    with mock.patch.object(manifest_module, "_index", side_effect=AssertionError("indexed again")):
        assert load_or_build(str(images), place(str(tmp_path / "cache"))).in_memory().table.equals(whole.table)


def test_a_short_list_is_made_again_at_each_start(tmp_path: Path) -> None:
    images, cache = write_photos(tmp_path / "images"), place(str(tmp_path / "cache"))
    load_or_build(str(images), cache, recheck=False)
    write_files(images, {"train/cat/new.png": image(77, "PNG")})
    assert len(load_or_build(str(images), cache, recheck=False)) == 37


def test_a_long_list_is_not_made_again_unless_asked_and_says_its_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_module, "QUICKLY_LISTED", 10)
    images, cache = write_photos(tmp_path / "images"), place(str(tmp_path / "cache"))
    load_or_build(str(images), cache, recheck=False)
    write_files(images, {"train/cat/new.png": image(77, "PNG")})
    later = time.time() + 3 * 86400
    with mock.patch.object(time, "time", return_value=later):
        old = load_or_build(str(images), cache, recheck=False)
    assert len(old) == 36
    assert old.notes[-1] == f"the list of 36 images is 3 days old; --data.recheck true lists {images} again"
    new = load_or_build(str(images), cache, recheck=True)
    assert len(new) == 37
    assert not any("old;" in note for note in new.notes)
    (cache / cached_at(str(images), cache).name.replace(".parquet", ".listed.json")).delete()
    write_files(images, {"train/cat/newer.png": image(78, "PNG")})
    assert len(load_or_build(str(images), cache, recheck=False)) == 38, "a list of unknown age is made again"


def test_an_index_that_failed_does_not_make_the_list_of_before_look_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_module, "QUICKLY_LISTED", 10)
    images, cache = write_photos(tmp_path / "images"), place(str(tmp_path / "cache"))
    load_or_build(str(images), cache)
    write_files(images, {"train/cat/new.png": image(77, "PNG")})
    later = time.time() + 3 * 86400
    with mock.patch.object(time, "time", return_value=later):
        with (
            mock.patch.object(manifest_module, "_index", side_effect=OSError("no disk")),
            pytest.raises(OSError, match="no disk"),
        ):
            load_or_build(str(images), cache)
        assert "3 days old" in load_or_build(str(images), cache, recheck=False).notes[-1]
