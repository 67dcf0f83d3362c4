"""Tars give their image members, labelled by the members beside them or by their folders."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from swav_ray.data.manifest import PlaceError, build
from swav_ray.data.sources import read_samples
from tests.data.images import image, write_tar


@pytest.mark.parametrize(
    ("members", "classes", "labels"),
    [
        ({"a.jpg": b"x", "a.cls": b"3\n", "b.jpg": b"x", "b.cls": b"1"}, ["0", "1", "2", "3"], [3, 1]),
        ({"a.cls": b"dog", "a.png": b"x", "b.png": b"x", "b.cls": b"ant"}, ["ant", "dog"], [1, 0]),
        ({"a.jpg": b"x", "a.json": b'{"label": 2}', "b.jpg": b"x", "b.json": b"[1]"}, ["0", "1", "2"], [2, -1]),
        ({"a.jpg": b"x", "a.cls": b"300000000", "b.jpg": b"x", "b.cls": b"9"}, ["9", "300000000"], [1, 0]),
        ({"a.jpg": b"x", "a.json": b'{"label": 2.0}', "b.jpg": b"x"}, ["0", "1", "2"], [2, -1]),
        ({"a.jpg": b"x", "a.cls": b"4294967296", "b.jpg": b"x"}, ["4294967296"], [0, -1]),
        ({"a.jpg": b"x", "a.cls": b"1" * 5000, "b.jpg": b"x", "b.cls": b"0"}, ["0", "1" * 5000], [1, 0]),
        ({"./dog/a.v2.jpg": b"x", "./ant/b.jpg": b"x"}, ["ant", "dog"], [1, 0]),
        ({"a.jpg": b"x", "b.jpg": b"x", "b.seg.png": b"x", "b.txt": b"x"}, [], [-1, -1]),
    ],
)
def test_tar_labels(tmp_path: Path, members: dict[str, bytes], classes: list[str], labels: list[int]) -> None:
    manifest = build(str(write_tar(tmp_path / "x.tar", members)))
    assert (manifest.classes, manifest.labels.tolist()) == (classes, labels)
    assert list(read_samples(manifest, np.arange(2))) == [b"x", b"x"]


def test_tars_are_split_by_name_and_may_not_be_damaged(tmp_path: Path) -> None:
    for name in ("imagenet-train-000000", "imagenet-train-000001", "imagenet-val-000000"):
        write_tar(tmp_path / "dev" / f"{name}.tar", {f"{i}.jpg": image(i) for i in range(3)})
    assert build(str(tmp_path)).test_ids().tolist() == [6, 7, 8]
    damaged = tmp_path / "dev" / "imagenet-val-000000.tar"
    damaged.write_bytes(damaged.read_bytes()[:1500])
    with pytest.raises(PlaceError, match=r"imagenet-val-000000.tar: is a damaged tar"):
        build(str(tmp_path))
    write_tar(tmp_path / "only" / "x.tar", {"a.txt": b""})
    with pytest.raises(PlaceError, match="hold no image"):
        build(str(tmp_path / "only"))


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        (["3", "5"], [3, 5]),
        (["-1", "5"], [-1, 5]),
        (["-1", "-7"], [-1, -1]),
        (["07", "5"], [7, 5]),
    ],
)
def test_labels_that_are_numbers_stay_numbers_wherever_they_lie(
    tmp_path: Path, words: list[str], labels: list[int]
) -> None:
    files = {"0.jpg": b"x", "1.jpg": b"x", "0.cls": words[0].encode(), "1.cls": words[1].encode()}
    manifest = build(str(write_tar(tmp_path / "x.tar", files)))
    assert manifest.labels.tolist() == labels
    assert manifest.notes == ()


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["a.jpg", "a.png"], ["a.jpg"]),
        (["a.png", "a.jpg"], ["a.jpg"]),
        (["a.mask.png", "a.png"], ["a.png"]),
        (["a.image.png", "a.mask.png"], ["a.image.png"]),
        (["a.seg.png", "a.left.png"], ["a.left.png"]),
        (["a.v2.jpg", "a.v3.jpg"], ["a.v2.jpg", "a.v3.jpg"]),
        (["a.mask.png"], ["a.mask.png"]),
        (["x/a.jpg", "y/a.jpg"], ["x/a.jpg", "y/a.jpg"]),
        (["a.jpg", "a_mask.png", "b-seg.png"], ["a.jpg", "b-seg.png"]),
        (["v1/images/a.jpg", "v1/masks/a.png", "v1/masks/b.png"], ["v1/images/a.jpg", "v1/masks/b.png"]),
        (["mask/a.jpg", "no_mask/a.jpg"], ["mask/a.jpg", "no_mask/a.jpg"]),  # two classes
    ],
)
def test_a_key_has_one_image_and_masks_are_left_out(tmp_path: Path, names: list[str], chosen: list[str]) -> None:
    manifest = build(str(write_tar(tmp_path / "x.tar", {name: name.encode() for name in names})))
    assert list(read_samples(manifest, np.arange(len(manifest)))) == [name.encode() for name in chosen]
    left_out = len(names) - len(chosen)
    assert manifest.notes == (
        (f"left out {left_out} images that lie beside the image of their key, as masks do: a key has one image",)
        if left_out
        else ()
    )


@pytest.mark.parametrize(
    ("compress", "how"), [(gzip.compress, "gzipped"), (bz2.compress, "bzip2"), (lzma.compress, "xz")]
)
def test_a_compressed_tar_is_called_that(tmp_path: Path, compress: Callable[[bytes], bytes], how: str) -> None:
    tar = write_tar(tmp_path / "x.tar", {"a.jpg": b"x"})
    tar.write_bytes(compress(tar.read_bytes()))
    with pytest.raises(PlaceError, match=rf"x.tar: is a {how} tar, which has no random access; unpack it"):
        build(str(tmp_path))
