"""A run on images in S3 with a cache on the node's disk: the same numbers, and fewer requests."""

from __future__ import annotations

from dataclasses import replace as changed
from pathlib import Path

import pytest

from swav_ray.config import ConfigError, replace
from swav_ray.data import manifest as manifests
from swav_ray.launch.dataset import manifest_of, with_usable_cache
from swav_ray.launch.train import train
from swav_ray.report.terminal import Terminal
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import place
from tests.data.test_batches import write_images
from tests.launch.conftest import tiny

CACHE = {"cache_dir": "/nvme/cache"}


def lines(capsys: pytest.CaptureFixture[str]) -> str:
    return "".join(capsys.readouterr())


def test_local_images_are_not_cached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path, 5)
    config = tiny(tmp_path, tmp_path / "runs", "local", scaling=CACHE)
    found = manifest_of(config, place(tmp_path / "runs" / "local"), Terminal(0.0), begun=False)
    assert with_usable_cache(config, found, Terminal(0.0)).scaling.cache_dir == ""
    assert "scaling.cache_dir caches nothing" in lines(capsys)


@pytest.mark.s3
def test_a_run_whose_images_have_changed_reads_them_anew(
    s3: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path, 3)
    for file in tmp_path.glob("*.jpg"):
        (place(s3) / file.name).write_bytes(file.read_bytes())
    config = replace(tiny(Path(), tmp_path, "changed", scaling=CACHE), data={"uri": s3})
    run_dir = place(tmp_path / "changed")
    found = manifest_of(config, run_dir, Terminal(0.0), begun=False)
    assert with_usable_cache(config, found, Terminal(0.0)) == config
    older = changed(found, fingerprint="of before")
    assert manifests.save(older, run_dir / "manifest.parquet") == older
    assert with_usable_cache(config, older, Terminal(0.0)).scaling.cache_dir == ""
    assert "may be older than what has changed" in lines(capsys)


@pytest.mark.parametrize("where", ["cache", "s3://bucket/cache"])
def test_a_cache_that_is_not_on_each_nodes_disk_is_refused(tmp_path: Path, where: str) -> None:
    with pytest.raises(ConfigError, match=r"scaling\.cache_dir"):
        tiny(tmp_path, tmp_path, "x", scaling={"cache_dir": where})
    with pytest.raises(ConfigError, match=r"scaling\.cache_bytes"):
        tiny(tmp_path, tmp_path, "x", scaling={"cache_bytes": 1 << 20})


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.s3
def test_a_run_with_a_cache_reads_less_from_s3_and_learns_the_same(
    two_cpus: None, s3_images: str, tmp_path: Path
) -> None:
    # A task reads an image once for all of its 32 batches: twelve epochs of nine are four tasks.
    length = {"epochs": 12, "global_batch_size": 8}
    plain = tiny(Path(), tmp_path, "plain", data={"uri": s3_images}, train=length, eval={"knn_every_epochs": 0})
    cached = replace(plain, run={"name": "cached"}, scaling={"cache_dir": str(tmp_path / "cache")})
    assert train(plain) is not None
    assert train(cached) is not None
    first, second = (read_metrics(place(tmp_path / name)) for name in ("plain", "cached"))
    assert [record["loss"] for record in first] == [record["loss"] for record in second]
    size = sum(file.stat().st_size for file in tmp_path.glob("*.jpg"))
    assert len([file for file in (tmp_path / "cache").rglob("*") if file.is_file() and file.name != "usage"]) <= 72
    assert sum(record["bytes_read"] for record in first) > 2 * size
    assert sum(record["bytes_read"] for record in second) < 2 * size  # two tasks may begin before either has read
