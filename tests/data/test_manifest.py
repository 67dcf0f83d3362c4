"""A place has one list of samples, whoever lists it and in whatever order; it is kept until the place changes."""

from __future__ import annotations

import logging
import os
import pickle
import string
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swav_ray.data import manifest as manifest_module
from swav_ray.data.__main__ import main
from swav_ray.data.formats.rows import SCHEMA
from swav_ray.data.manifest import PlaceError, build, cache_of, cached_at, load, load_or_build, save
from swav_ray.storage.place import Entry, Place, place
from tests.data.images import image, write_files, write_parquet, write_tar

PARTS = st.text(string.ascii_letters + string.digits + "_ é", min_size=1, max_size=6).filter(lambda p: p.strip() == p)
NAMES = st.lists(st.lists(PARTS, min_size=1, max_size=3).map(lambda p: f"{'/'.join(p)}.jpg"), min_size=1, unique=True)


def listed(names: list[str]) -> mock._patch:  # type: ignore[type-arg]
    return mock.patch.object(Place, "list", return_value=[Entry(n, len(n), f"v-{n}") for n in names])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


@settings(max_examples=30, deadline=None)
@given(names=NAMES, data=st.data())
def test_any_change_of_a_file_changes_the_fingerprint(names: list[str], data: st.DataObject) -> None:
    victim = data.draw(st.sampled_from(names))
    with listed(names):
        before = build("s3://bucket/x").fingerprint
    entries = [Entry(n, len(n), f"v-{n}" if n != victim else "another") for n in names]
    with mock.patch.object(Place, "list", return_value=entries):
        assert build("s3://bucket/x").fingerprint != before


def test_class_folders_become_labels_in_alphabetical_order(tmp_path: Path) -> None:
    write_files(tmp_path, {f"{name}/{i}.jpg": b"x" for name in ("dog", "ant", "cat") for i in range(2)})
    found = build(str(tmp_path))
    assert found.table.schema == SCHEMA
    assert found.classes == ["ant", "cat", "dog"]
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.train_ids().tolist() == list(range(6))
    assert len(found.test_ids()) == 0


@pytest.mark.parametrize("held_out", ["val", "valid", "validation", "dev", "eval", "test"])
def test_split_folders_are_splits_and_not_classes(tmp_path: Path, held_out: str) -> None:
    files = {f"photos/{split}/{name}/1.png": b"x" for split in ("train", held_out) for name in ("a", "b")}
    found = build(str(write_files(tmp_path, files)))
    assert found.classes == ["a", "b"]
    assert len(found.train_ids()) == len(found.test_ids()) == 2
    assert {found.uri_of(i).split("/")[-3] for i in found.test_ids()} == {held_out}


def test_a_class_may_be_called_test_where_there_is_no_train(tmp_path: Path) -> None:
    found = build(str(write_files(tmp_path, {"test/1.jpg": b"x", "best/1.jpg": b"x", "train_station/1.jpg": b"x"})))
    assert found.classes == ["best", "test", "train_station"]
    assert len(found.train_ids()) == 3


def test_images_without_class_folders_have_no_labels(tmp_path: Path) -> None:
    found = build(str(write_files(tmp_path, {f"all/deep/{i}.JPG": b"x" for i in range(3)})))
    assert found.classes == []
    assert found.labels.tolist() == [-1, -1, -1]


def test_what_is_no_image_is_left_out_counted_and_named(tmp_path: Path) -> None:
    files = {
        "a.jpg": b"x",
        "b.txt": b"",
        "c.txt": b"",
        "d.json": b"",
        ".DS_Store": b"",
        "__MACOSX/a.jpg": b"",
        "_ok": b"",
    }
    found = build(str(write_files(tmp_path, files)))
    assert found.table["uri"].to_pylist() == ["a.jpg"]
    assert found.notes == ("left out 3 files that are not images: .txt (2), .json (1); for example b.txt",)


def test_names_that_are_no_text_and_links_in_a_circle_do_no_harm(tmp_path: Path) -> None:
    write_files(tmp_path, {"a/1.jpg": b"x", "b/1.jpg": b"x"})
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/b/\xff.jpg")).write_bytes(b"x")
    found = build(str(tmp_path))
    assert found.table["uri"].to_pylist() == ["a/1.jpg", "b/1.jpg"]
    assert "a name that is not UTF-8 (1)" in found.notes[0]
    found.notes[0].encode()


def test_a_single_file_is_a_place(tmp_path: Path) -> None:
    write_tar(tmp_path / "one.tar", {"a.jpg": image(0)})
    write_tar(tmp_path / "two.tar", {"a.jpg": image(0)})
    assert build(str(tmp_path / "one.tar")).table["uri"].to_pylist() == ["one.tar"]


def test_places_of_no_use_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_files(tmp_path, {"text/a.txt": b"x", "mixed/a.jpg": b"x", "zipped/a.tar.gz": b"x", "mixed/b.tar": b"x"})
    for name, words in {
        "nowhere": "does not exist",
        "empty": "holds no files",
        "text": r"\.txt \(1\); for example a.txt",
        "mixed": "1 image files and 1 tars; point at a folder that holds one kind",
        "zipped": "compressed tar",
    }.items():
        with pytest.raises(PlaceError, match=words) as caught:
            build(str(tmp_path / name))
        assert isinstance(caught.value, ValueError)
        assert "\n" not in str(caught.value)
        assert str(tmp_path / name) in str(caught.value)


def test_a_kept_manifest_serves_until_the_place_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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


@pytest.mark.parametrize("on_s3", [False, pytest.param(True, marks=pytest.mark.s3)])
@pytest.mark.parametrize("storage", ["runs", ""])
def test_runs_in_the_place_that_they_train_on_are_no_part_of_it(
    tmp_path: Path, storage: str, on_s3: bool, request: pytest.FixtureRequest
) -> None:
    root = place(request.getfixturevalue("s3") if on_s3 else tmp_path)
    for name in ("a/1.jpg", "b/1.jpg", "b/notes.txt"):
        (root / name).write_bytes(b"x")
    before = build(root.uri)
    for run in ("first", "sweeps/s", "sweeps/s/trials/t"):
        save(before, root / storage / run / "manifest.parquet")
        for name in ("config.yaml", "checkpoints/step-1/model.pt", "curves.png"):
            (root / storage / run / name).write_bytes(b"x")
    save(before, cached_at(root.uri, cache_of((root / storage).uri)))
    (root / storage / "_data" / "shapes" / "train-00000-of-00001.parquet").write_bytes(b"x")
    assert build(root.uri) == before
    assert load_or_build(root.uri, cache_of((root / storage).uri)) == before


def test_a_lease_that_comes_before_the_manifest_is_no_change(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.jpg": b"x"})
    before = build(str(tmp_path))
    write_files(tmp_path, {"runs/first/running.json": b"x"})
    assert build(str(tmp_path)) == before


def test_a_shard_called_manifest_is_a_shard(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a" / "manifest.parquet", 3)
    write_parquet(tmp_path / "b" / "x.parquet", 2)
    assert len(build(str(tmp_path))) == 5
    (tmp_path / "b" / "manifest.parquet").write_bytes(b"damaged")
    with pytest.raises(PlaceError, match=r"b/manifest.parquet: is not a Parquet file"):
        build(str(tmp_path))


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


def test_progress_is_told(tmp_path: Path) -> None:
    seen: list[int] = []
    with listed([f"{i}.jpg" for i in range(2500)]):
        build(str(tmp_path), progress=seen.append)
    assert seen == [1000, 2000, 2500]


def test_the_command_line_indexes_and_tells_mistakes_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path / "images", {f"{s}/{c}/1.jpg": b"x" for s in ("train", "val") for c in "abc"})
    assert main(["index", str(tmp_path / "images"), "--out", str(tmp_path / "m.parquet")]) == 0
    described = f"{tmp_path}/images: 6 images (3 train, 3 test), 3 classes\nmanifest: {tmp_path}/m.parquet\n"
    assert capsys.readouterr().out == described
    assert len(load(place(tmp_path / "m.parquet"))) == 6
    for wrong in (str(tmp_path / "nowhere"), "gs://bucket/x", "s3://"):
        assert main(["index", wrong]) == 2
        told = capsys.readouterr()
        assert (told.out, told.err.count("\n")) == ("", 1)
        assert wrong in told.err


def test_what_index_kept_training_with_that_storage_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = str(write_files(tmp_path / "images", {f"{i}.jpg": b"x" for i in range(3)}))
    storage = str(tmp_path / "runs")
    assert main(["index", images, "--storage", storage]) == 0
    kept_at = cached_at(images, cache_of(storage))
    assert capsys.readouterr().out.endswith(f"manifest: {kept_at}\n")
    monkeypatch.setattr("swav_ray.data.manifest._index", lambda *_: pytest.fail("indexed once more"))
    assert len(load_or_build(images, cache_of(storage))) == 3
