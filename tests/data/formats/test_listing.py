"""What lies in a place is the same whoever lists it; what no sample is, is left out and named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swav_ray.data.manifest import PlaceError, build, cache_of, cached_at, load_or_build, save
from swav_ray.storage.place import place
from tests.data.images import image, write_files, write_parquet, write_tar


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


def test_links_that_lead_nowhere_are_counted_with_an_example(tmp_path: Path) -> None:
    write_files(tmp_path, {"x/a.jpg": b"x"})
    (tmp_path / "x" / "loop").symlink_to("loop")
    (tmp_path / "x" / "0.jpg").symlink_to("/nowhere/0.jpg")
    found = build(str(tmp_path))
    assert found.table["uri"].to_pylist() == ["x/a.jpg"]
    assert found.notes == ("left out 2 links that lead nowhere; for example x/0.jpg",)
    (tmp_path / "x" / "a.jpg").unlink()
    with pytest.raises(PlaceError, match="holds no files; left out 2 links that lead nowhere"):
        build(str(tmp_path))


def test_a_single_file_is_a_place(tmp_path: Path) -> None:
    write_tar(tmp_path / "one.tar", {"a.jpg": image(0)})
    write_tar(tmp_path / "two.tar", {"a.jpg": image(0)})
    assert build(str(tmp_path / "one.tar")).table["uri"].to_pylist() == ["one.tar"]


def test_a_place_of_no_use_is_refused_in_one_line(tmp_path: Path) -> None:
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
