"""Every source gives back the bytes that went in, in the order asked; a bad sample is an answer, not an exception."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.parts.s3_server import S3Server
from swav_ray.data.formats import shards as shards_module
from swav_ray.data.formats.idx import images_of
from swav_ray.data.manifest import PlaceError, build
from swav_ray.data.sources import read_samples
from swav_ray.data.tools.importer import import_shards
from swav_ray.storage.errors import SettingsError
from swav_ray.storage.place import Place, StorageUnavailable, place, stats
from tests.data.images import image, with_class_names, write_files, write_idx, write_parquet, write_tar

COUNT = 10


def folder(root: Path) -> Path:
    return write_files(root, {f"{i}.jpg": image(i) for i in range(COUNT)})


def parquet_structs(root: Path) -> Path:
    return write_parquet(root / "x.parquet", COUNT).parent


def parquet_bytes(root: Path) -> Path:
    return write_parquet(root / "x.parquet", COUNT, struct_column=False).parent


def tars(root: Path) -> Path:
    return write_tar(root / "x.tar", {f"{i}.jpg": image(i) for i in range(COUNT)}).parent


def own_shards(root: Path) -> Path:
    import_shards(str(folder(root.parent / f"from-{uuid.uuid4().hex}")), str(root), shard_bytes=4000)
    return root


MAKERS = pytest.mark.parametrize("make", [folder, parquet_structs, parquet_bytes, tars, own_shards])


@MAKERS
@pytest.mark.parametrize("on_s3", [False, pytest.param(True, marks=pytest.mark.s3)])
def test_samples_come_in_the_order_asked(
    make: Callable[[Path], Path], on_s3: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    where = place(make(tmp_path / "data"))
    if on_s3:
        remote = place(request.getfixturevalue("s3")) / "data"
        for entry in where.list():
            (remote / entry.name).write_bytes((where / entry.name).read_bytes())
        where = remote
    ids = np.array([7, 0, 9, 7, 3])
    assert list(read_samples(build(where.uri), ids)) == [image(i) for i in ids]
    whole = build(where.uri)
    assert list(read_samples(whole.take(ids), np.arange(5))) == [image(i) for i in ids]
    assert list(read_samples(whole, np.array([], np.int64))) == []


@MAKERS
def test_a_file_that_is_gone_is_an_answer(make: Callable[[Path], Path], tmp_path: Path) -> None:
    manifest = build(str(make(tmp_path / "data")))
    victim = manifest.table["uri"][3].as_py()
    (tmp_path / "data" / victim).unlink()
    samples = list(read_samples(manifest, np.arange(COUNT)))
    gone = [name == victim for name in manifest.table["uri"].to_pylist()]
    assert [isinstance(sample, FileNotFoundError) for sample in samples] == gone


@MAKERS
def test_a_file_cut_short_is_an_answer(make: Callable[[Path], Path], tmp_path: Path) -> None:
    manifest = build(str(make(tmp_path / "data")))
    victim = tmp_path / "data" / manifest.table["uri"][9].as_py()
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    assert isinstance(next(read_samples(manifest, np.array([9]))), Exception)


def idx_files(root: Path) -> Path:
    return write_idx(root / "train-images-idx3-ubyte.gz", np.zeros((COUNT, 4, 4))).parent


@pytest.mark.parametrize("make", [folder, idx_files])
@pytest.mark.parametrize("error", [StorageUnavailable("gone"), SettingsError("wrong")])
def test_an_outage_is_no_answer(make: Callable[[Path], Path], error: OSError, tmp_path: Path) -> None:
    manifest = build(str(make(tmp_path)))
    images_of.cache_clear()
    with mock.patch.object(Place, "read_bytes", side_effect=error), pytest.raises(type(error)):
        list(read_samples(manifest, np.array([1])))


def test_neighbours_are_one_read_and_strangers_are_not(tmp_path: Path) -> None:
    manifest = build(str(tars(tmp_path)))
    with mock.patch.object(Place, "read_range", autospec=True, side_effect=Place.read_range) as reads:
        list(read_samples(manifest, np.random.default_rng(0).permutation(COUNT)))
    assert reads.call_count == 1


def test_a_row_group_is_read_once_a_call(tmp_path: Path) -> None:
    manifest = build(str(parquet_structs(tmp_path)))
    with mock.patch.object(shards_module, "_images", side_effect=shards_module._images) as reads:
        list(read_samples(manifest, np.random.default_rng(0).permutation(COUNT)))
    assert reads.call_count == 3


def test_an_imported_shard_gives_single_images_without_reading_the_rest(tmp_path: Path) -> None:
    import_shards(str(folder(tmp_path / "in")), str(tmp_path / "out"))
    manifest = build(str(tmp_path / "out"))
    before = stats()["bytes_read"]
    assert list(read_samples(manifest, np.array([8]))) == [image(8)]
    assert stats()["bytes_read"] - before == len(image(8))


@pytest.mark.parametrize(
    ("label", "classes", "labels"),
    [
        (pa.array([2, 0, None, 1]), ["0", "1", "2"], [2, 0, -1, 1]),
        (pa.array(["b", "a", None, "b"]), ["a", "b"], [1, 0, -1, 1]),
        (pa.array(["b", "a", "a", "b"]).dictionary_encode(), ["a", "b"], [1, 0, 0, 1]),
        (pa.array([0.5, 1.0, 2.0, 3.0]), [], [-1, -1, -1, -1]),
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


def test_a_row_without_bytes_is_an_answer(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("members", "classes", "labels"),
    [
        ({"a.jpg": b"x", "a.cls": b"3\n", "b.jpg": b"x", "b.cls": b"1"}, ["0", "1", "2", "3"], [3, 1]),
        ({"a.cls": b"dog", "a.png": b"x", "b.png": b"x", "b.cls": b"ant"}, ["ant", "dog"], [1, 0]),
        ({"a.jpg": b"x", "a.json": b'{"label": 2}', "b.jpg": b"x", "b.json": b"[1]"}, ["0", "1", "2"], [2, -1]),
        ({"a.jpg": b"x", "a.cls": b"300000000", "b.jpg": b"x", "b.cls": b"9"}, ["9", "300000000"], [1, 0]),
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


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_give_pixels_labels_and_splits(tmp_path: Path, suffix: str) -> None:
    train, test = (np.random.default_rng(n).integers(0, 256, (n, 6, 5), np.uint8) for n in (7, 3))
    write_idx(tmp_path / f"train-images-idx3-ubyte{suffix}", train)
    write_idx(tmp_path / f"train-labels-idx1-ubyte{suffix}", np.arange(7))
    write_idx(tmp_path / f"t10k-images-idx3-ubyte{suffix}", test)
    write_idx(tmp_path / f"t10k-labels-idx1-ubyte{suffix}", np.arange(3))
    manifest = build(str(tmp_path))
    assert manifest.classes == [str(i) for i in range(7)]
    assert manifest.labels.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5, 6]
    assert manifest.test_ids().tolist() == [0, 1, 2]
    for sample, source in zip(read_samples(manifest, np.array([9, 1])), (train[6], test[1]), strict=True):
        assert isinstance(sample, np.ndarray)
        assert (sample.shape, sample.dtype) == ((6, 5, 3), np.uint8)
        assert (sample == source[..., None]).all()


def test_idx_files_that_cannot_be_are_told(tmp_path: Path) -> None:
    write_idx(tmp_path / "a" / "train-images-idx3-ubyte", np.zeros((4, 2, 2)))
    write_idx(tmp_path / "a" / "train-labels-idx1-ubyte", np.zeros(3))
    with pytest.raises(PlaceError, match="has 3 labels for the 4 images of train-images-idx3-ubyte"):
        build(str(tmp_path / "a"))
    path = write_idx(tmp_path / "b" / "train-images-idx3-ubyte", np.zeros((4, 2, 2)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(PlaceError, match="is cut short: 15 bytes of 16"):
        build(str(tmp_path / "b"))


def test_debians_fashion_mnist_is_a_place() -> None:
    where = Path("/usr/share/datasets/fashion-mnist")
    if not where.exists():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    manifest = build(str(where))
    assert (len(manifest.train_ids()), len(manifest.test_ids()), len(manifest.classes)) == (60_000, 10_000, 10)
    assert np.bincount(manifest.labels).tolist() == [7000] * 10


@pytest.mark.s3
@pytest.mark.slow
def test_samples_are_read_through_an_outage(s3: str, s3_server: S3Server) -> None:
    remote = place(s3) / "data"
    for i in range(COUNT):
        (remote / f"{i}.jpg").write_bytes(image(i))
    manifest = build(remote.uri)
    before = stats()["retries"]
    s3_server.kill()
    back = threading.Timer(1.0, s3_server.start)
    back.start()
    try:
        assert list(read_samples(manifest, np.arange(COUNT))) == [image(i) for i in range(COUNT)]
        assert stats()["retries"] > before
    finally:
        back.join()
