"""Byte-identical local images are found by reading little, in folders and tars, whatever their names say."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from swav_ray.config import DataConfig
from swav_ray.data import twins
from swav_ray.data.contents import first_of_equals
from swav_ray.data.holdout import split, with_twins
from swav_ray.data.manifest import Manifest, build, cached_at, load_or_build, save
from swav_ray.data.tools.importer import import_shards
from swav_ray.data.twins import compared
from swav_ray.storage.place import place
from tests.data.images import image, write_files, write_parquet, write_tar

LARGE = bytes(range(256)) * 40  # longer than the part that is read first


def equals(manifest: Manifest) -> list[set[str]]:
    """Names of the images that are known to be equal."""
    assert manifest.contents is not None
    sets: dict[int, set[str]] = {}
    for sample, first in enumerate(first_of_equals(manifest.contents).tolist()):
        sets.setdefault(first, set()).add(manifest.table["uri"][sample].as_py())
    return [names for names in sets.values() if len(names) > 1]


def all_compared(manifest: Manifest) -> Manifest:
    ids = np.arange(len(manifest))
    found, note = compared(manifest, ids, ids)
    assert note == ""
    return found


def folder(root: Path) -> Path:
    """A photo with a copy, a hard link and a link; one of the same size; one that differs where it is read last."""
    files = {"a/1.jpg": image(1), "b/1.jpg": image(1), "a/2.jpg": image(1)[:-1] + b"\0", "a/3.jpg": image(3)}
    files |= {"a/large.jpg": LARGE, "b/large.jpg": b"\1" + LARGE[1:], "a/empty.jpg": b"", "b/empty.jpg": b""}
    write_files(root, files)
    os.link(root / "a/1.jpg", root / "b/link.jpg")
    (root / "b/symbolic.jpg").symlink_to("../a/1.jpg")
    return root


def test_copies_and_links_are_equal_and_images_of_one_size_or_one_end_are_not(tmp_path: Path) -> None:
    found = all_compared(build(str(folder(tmp_path))))
    assert equals(found) == [{"a/1.jpg", "b/1.jpg", "b/link.jpg", "b/symbolic.jpg"}]


def test_an_image_whose_size_no_other_has_is_not_read(tmp_path: Path) -> None:
    write_files(tmp_path, {f"{i}.jpg": bytes(100 + i) for i in range(9)})
    manifest = build(str(tmp_path))
    assert all_compared(manifest).contents.tolist() == [0] * 9  # type: ignore[union-attr]


def test_images_of_two_sets_are_compared_with_those_of_the_other_set_alone(tmp_path: Path) -> None:
    write_files(tmp_path, {"1.jpg": b"same", "2.jpg": b"same", "3.jpg": b"other photo", "4.jpg": b"other photo"})
    manifest = build(str(tmp_path))
    found, _ = compared(manifest, np.array([0, 2]), np.array([3]))
    assert equals(found) == [{"3.jpg", "4.jpg"}]


def test_members_of_tars_are_compared_too(tmp_path: Path) -> None:
    write_tar(tmp_path / "one.tar", {"1.jpg": image(1), "2.jpg": image(2)})
    write_tar(tmp_path / "two.tar", {"3.jpg": image(3), "4.jpg": image(1)})
    found = all_compared(build(str(tmp_path)))
    assert first_of_equals(found.contents).tolist() == [0, 1, 2, 0]  # type: ignore[arg-type]


def test_imported_images_carry_their_contents_and_nothing_is_read(tmp_path: Path) -> None:
    write_files(tmp_path / "in", {"a/1.jpg": image(1), "a/2.jpg": image(2), "b/3.jpg": image(1)})
    import_shards(str(tmp_path / "in"), str(tmp_path / "out"))
    found = build(str(tmp_path / "out"))
    assert first_of_equals(found.contents).tolist() == [0, 1, 0]  # type: ignore[arg-type]
    assert all_compared(found) == found


def test_rows_of_other_shards_have_no_sizes_and_are_left_as_they_are(tmp_path: Path) -> None:
    write_parquet(tmp_path / "1.parquet", 4)
    assert all_compared(build(str(tmp_path))).contents.tolist() == [0] * 4  # type: ignore[union-attr]


def test_too_many_images_of_one_size_are_not_read_and_the_note_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twins, "MOST", 3)
    manifest = build(str(folder(tmp_path)))
    found, note = compared(manifest, manifest.train_ids(), manifest.train_ids())
    assert "images have the size of another one" in note
    assert f"python -m swav_ray.data check {tmp_path}" in note
    assert equals(found) == []


def test_a_file_that_is_gone_has_no_copies(tmp_path: Path) -> None:
    manifest = build(str(folder(tmp_path)))
    (tmp_path / "b/1.jpg").unlink()
    assert equals(all_compared(manifest)) == [{"a/1.jpg", "b/link.jpg", "b/symbolic.jpg"}]


def test_objects_are_equal_by_size_and_etag(s3: str) -> None:
    where = place(s3)
    for name, data in {"a/1.jpg": image(1), "b/2.jpg": image(1), "b/3.jpg": image(3), "a/empty.jpg": b""}.items():
        (where / name).write_bytes(data)
    assert equals(build(s3)) == [{"a/1.jpg", "b/2.jpg"}]


def split_set(root: Path, *, copies: bool) -> Path:
    """Sixty photos of two classes; with copies, ten of them have one in the other class."""
    files = {f"{name}/{i:02d}.jpg": image(30 * j + i) for j, name in enumerate(("cat", "dog")) for i in range(30)}
    if copies:
        files |= {f"dog/copy{i}.jpg": files[f"cat/{i:02d}.jpg"] for i in range(10)}
    return write_files(root, files)


def test_a_fraction_never_has_copies_on_both_sides(tmp_path: Path) -> None:
    data = DataConfig(holdout_fraction=0.4)
    found, _ = with_twins(build(str(split_set(tmp_path, copies=True))), data)
    train, held_out = split(found, data)
    names = found.table["uri"].to_pylist()
    by_content = [{(tmp_path / names[sample]).read_bytes() for sample in ids} for ids in (train, held_out)]
    assert not by_content[0] & by_content[1]
    assert len(train) + len(held_out) == len(found) == 70
    assert any("copy" in names[sample] for sample in held_out)  # or nothing was shown


def test_a_set_without_copies_is_split_as_ever(tmp_path: Path) -> None:
    data = DataConfig(holdout_fraction=0.4)
    known, _ = with_twins(build(str(split_set(tmp_path, copies=False))), data)
    order = np.random.default_rng(0).permutation(60)
    assert split(known, data)[1].tolist() == sorted(order[:24].tolist())
    assert split(known, data)[0].tolist() == sorted(order[24:].tolist())


def test_a_run_that_began_with_a_list_of_an_earlier_version_keeps_its_split(tmp_path: Path) -> None:
    data = DataConfig(holdout_fraction=0.4)
    manifest = build(str(split_set(tmp_path, copies=True)))
    earlier = Manifest(manifest.table.drop_columns(["content"]), manifest.root, manifest.classes, manifest.fingerprint)
    order = np.random.default_rng(0).permutation(70)
    assert split(earlier, data)[1].tolist() == sorted(order[:28].tolist())


def test_a_cached_list_of_an_earlier_version_is_built_anew(tmp_path: Path) -> None:
    root, cache = str(split_set(tmp_path / "in", copies=False)), place(tmp_path / "cache")
    manifest = load_or_build(root, cache)
    file = cached_at(root, cache)
    save(Manifest(manifest.table.drop_columns(["content"]), manifest.root, [], manifest.fingerprint), file)
    assert load_or_build(root, cache).contents is not None
