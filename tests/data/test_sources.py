"""Every source gives back the bytes that went in, in the order asked; a bad sample is returned as its error."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from benchmarks.parts.s3_server import S3Server
from swav_ray.data.formats.idx import images_of
from swav_ray.data.formats.shards import drop_cache
from swav_ray.data.manifest import build
from swav_ray.data.sources import name_of, read_samples
from swav_ray.data.tools.importer import import_shards
from swav_ray.storage.errors import SettingsError
from swav_ray.storage.node_cache import NodeCache
from swav_ray.storage.place import Place, StorageUnavailable, place, stats
from tests.data.images import image, write_files, write_idx, write_parquet, write_tar

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
@pytest.mark.s3
def test_a_node_reads_a_sample_once_for_all_its_processes(
    make: Callable[[Path], Path], s3: str, tmp_path: Path
) -> None:
    local = place(make(tmp_path / "data"))
    for entry in local.list():
        (place(s3) / entry.name).write_bytes((local / entry.name).read_bytes())
    found, cache = build(s3), NodeCache(str(tmp_path / "cache"), 64 << 20)
    ids = np.arange(len(found))
    first = list(read_samples(found, ids, cache))
    drop_cache()  # as another process, which has read no footers
    before = stats()
    assert list(read_samples(found, ids[::-1], cache)) == first[::-1]
    assert stats() == before
    assert first == list(read_samples(build(str(local)), ids, cache))


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
def test_a_missing_file_is_returned_as_its_error(make: Callable[[Path], Path], tmp_path: Path) -> None:
    manifest = build(str(make(tmp_path / "data")))
    victim = manifest.table["uri"][3].as_py()
    (tmp_path / "data" / victim).unlink()
    samples = list(read_samples(manifest, np.arange(COUNT)))
    gone = [name == victim for name in manifest.table["uri"].to_pylist()]
    assert [isinstance(sample, FileNotFoundError) for sample in samples] == gone


@MAKERS
def test_a_file_cut_short_is_returned_as_its_error(make: Callable[[Path], Path], tmp_path: Path) -> None:
    manifest = build(str(make(tmp_path / "data")))
    victim = tmp_path / "data" / manifest.table["uri"][9].as_py()
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    assert isinstance(next(read_samples(manifest, np.array([9]))), Exception)


def idx_files(root: Path) -> Path:
    return write_idx(root / "train-images-idx3-ubyte.gz", np.zeros((COUNT, 4, 4))).parent


@pytest.mark.parametrize("make", [folder, idx_files])
@pytest.mark.parametrize("error", [StorageUnavailable("gone"), SettingsError("wrong")])
def test_an_outage_is_raised(make: Callable[[Path], Path], error: OSError, tmp_path: Path) -> None:
    manifest = build(str(make(tmp_path)))
    images_of.cache_clear()
    with mock.patch.object(Place, "read_bytes", side_effect=error), pytest.raises(type(error)):
        list(read_samples(manifest, np.array([1])))


def test_neighbouring_samples_are_one_read(tmp_path: Path) -> None:
    manifest = build(str(tars(tmp_path)))
    with mock.patch.object(Place, "read_range", autospec=True, side_effect=Place.read_range) as reads:
        list(read_samples(manifest, np.random.default_rng(0).permutation(COUNT)))
    assert reads.call_count == 1


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


def test_people_know_an_imported_sample_by_the_path_that_it_had(tmp_path: Path) -> None:
    files = {f"train/{name}/{i}.jpg": image(i) for i in range(200) for name in ("cat", "dog")}
    import_shards(str(write_files(tmp_path / "in", files)), str(tmp_path / "out"), shard_bytes=40_000)
    manifest = build(str(tmp_path / "out"))
    shown = [name_of(manifest, sample) for sample in range(len(manifest))]
    shards = [f"{tmp_path / 'out'}/{uri}" for uri in manifest.table["uri"].to_pylist()]
    assert len(set(shards)) > 2
    assert shown == [f"{path} (in {shard})" for path, shard in zip(sorted(files), shards, strict=True)]


def test_a_sample_without_an_original_path_is_known_by_where_it_is(tmp_path: Path) -> None:
    manifest = build(str(write_parquet(tmp_path / "x.parquet", 3)))
    assert name_of(manifest, 1) == manifest.uri_of(1)
    (tmp_path / "x.parquet").unlink()
    assert name_of(manifest, 2) == manifest.uri_of(2)
