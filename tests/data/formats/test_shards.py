"""Parquet shards of any public kind: which column holds images, what the labels are called, which split is which."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swav_ray.data.formats import shards as shards_module
from swav_ray.data.manifest import PlaceError, build
from swav_ray.data.sources import read_samples
from tests.data.images import image, with_class_names, write_parquet

COUNT = 10


def parquet_structs(root: Path) -> Path:
    return write_parquet(root / "x.parquet", COUNT).parent


def test_a_row_group_is_read_once_a_call(tmp_path: Path) -> None:
    manifest = build(str(parquet_structs(tmp_path)))
    with mock.patch.object(shards_module, "_images", side_effect=shards_module._images) as reads:
        list(read_samples(manifest, np.random.default_rng(0).permutation(COUNT)))
    assert reads.call_count == 3


@pytest.mark.parametrize(
    ("label", "classes", "labels"),
    [
        (pa.array([2, 0, None, 1]), ["0", "1", "2"], [2, 0, -1, 1]),
        (pa.array(["b", "a", None, "b"]), ["a", "b"], [1, 0, -1, 1]),
        (pa.array(["b", "a", "a", "b"]).dictionary_encode(), ["a", "b"], [1, 0, 0, 1]),
        (pa.array([0.5, 1.0, 2.0, 3.0]), [], [-1, -1, -1, -1]),
        (pa.array([2.0, 0.0, None, float("nan")]), ["0", "1", "2"], [2, 0, -1, -1]),  # as pandas writes missing ones
        (pa.array([True, False, None, True]), ["0", "1"], [1, 0, -1, 1]),
        (pa.array(["7", "-1", None, "3"]), ["3", "7"], [1, -1, -1, 0]),
        (pa.array(["a", "-1", None, "a"]), ["-1", "a"], [1, 0, -1, 1]),
        (pa.array([2, 0, -(2**40), 1]), ["0", "1", "2"], [2, 0, -1, 1]),
        (pa.array([300_000_000, 7, None, -2]), ["7", "300000000"], [1, 0, -1, -1]),
        (pa.array([2**40, 2**31, 9, 2**40]), ["9", str(2**31), str(2**40)], [2, 1, 0, 2]),
        (pa.array([2**64 - 1, 8, None, 8], pa.uint64()), ["8", str(2**64 - 1)], [1, 0, -1, 0]),
        (None, [], [-1, -1, -1, -1]),
    ],
)
def test_parquet_labels(tmp_path: Path, label: object, classes: list[str], labels: list[int]) -> None:
    manifest = build(str(write_parquet(tmp_path / "x.parquet", 4, label=label)))
    assert (manifest.classes, manifest.labels.tolist()) == (classes, labels)


def test_large_numbers_in_several_shards_are_numbered_together(tmp_path: Path) -> None:
    for name, label in (("a", pa.array([5, 2**33])), ("b", None), ("c", pa.array([6, None], pa.int32()))):
        write_parquet(tmp_path / f"{name}.parquet", 2, label=label)
    manifest = build(str(tmp_path))
    assert (manifest.classes, manifest.labels.tolist()) == (["5", "6", str(2**33)], [0, 2, -1, -1, 1, -1])


def test_parquet_class_names_and_splits_as_public_sets_have_them(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001"):
        with_class_names(
            write_parquet(tmp_path / "data" / f"{name}.parquet", 5, label=[0, 1, 2, 1, 0]), ["x", "y", "z"]
        )
    manifest = build(str(tmp_path))
    assert manifest.classes == ["x", "y", "z"]
    assert manifest.labels.tolist() == [0, 1, 2, 1, 0] * 3
    assert manifest.test_ids().tolist() == [10, 11, 12, 13, 14]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.large_string())]
)
@pytest.mark.parametrize("held_out", ["test", "validation", "dev", "eval"])
def test_a_split_column_counts(tmp_path: Path, kind: pa.DataType, held_out: str) -> None:
    splits = pa.array(["train", held_out, None])
    splits = splits.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else splits.cast(kind)
    pq.write_table(pa.table({"img": [image(i) for i in range(3)], "split": splits}), tmp_path / "x.parquet")
    assert build(str(tmp_path)).test_ids().tolist() == [1]


def test_a_row_without_bytes_is_returned_as_its_error(tmp_path: Path) -> None:
    column = pa.array([{"bytes": image(0), "path": "a"}, {"bytes": None, "path": "b"}, None])
    pq.write_table(pa.table({"image": column}), tmp_path / "x.parquet")
    good, *bad = read_samples(build(str(tmp_path)), np.arange(3))
    assert good == image(0)
    assert [str(error) for error in bad] == [f"{tmp_path}/x.parquet: row has no image bytes"] * 2


def test_parquet_without_an_image_column_says_what_there_is(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "label": [1]}), tmp_path / "x.parquet")
    with pytest.raises(
        PlaceError, match=r"no column could hold images among text \(string\), label \(int64\); name one `im"
    ):
        build(str(tmp_path))
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(PlaceError, match="is not a Parquet file or is cut short"):
        build(str(tmp_path))


def test_large_row_groups_draw_a_line_of_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "_LARGE_GROUP", 1000)
    (note,) = build(str(parquet_structs(tmp_path))).notes
    assert "swav_ray.data import" in note


@pytest.mark.parametrize("kind", ["binary_view", "large_binary", "dictionary"])
def test_every_kind_of_binary_column_holds_images(tmp_path: Path, kind: str) -> None:
    images = [image(i) for i in range(3)]
    plain = pa.array(images, pa.binary())
    column = plain.dictionary_encode() if kind == "dictionary" else plain.cast(getattr(pa, kind)())
    pq.write_table(pa.table({"image": column}), tmp_path / "x.parquet")
    manifest = build(str(tmp_path))
    assert list(read_samples(manifest, np.arange(3))) == images


def test_shards_of_paths_without_bytes_are_refused_when_they_are_indexed(tmp_path: Path) -> None:
    rows = [{"bytes": None, "path": f"{i}.jpg"} for i in range(3)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), tmp_path / "x.parquet")
    with pytest.raises(PlaceError, match=r"x.parquet: none of its 3 rows has bytes in image.bytes"):
        build(str(tmp_path))
