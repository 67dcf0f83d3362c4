"""Embedding on Ray: a bucket whole, killed at any moment and resumed, tried again, refused in one line."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from swav_ray.embed import output as outputs
from swav_ray.embed.__main__ import main
from swav_ray.embed.output import Output
from swav_ray.launch import embed as launched
from swav_ray.storage.place import Place, place
from tests.data.images import write_idx
from tests.embed.small import images, weights

pytestmark = [pytest.mark.ray, pytest.mark.s3]
DIGITS = "train-images-idx3-ubyte"


@pytest.fixture
def cluster(s3: str) -> Iterator[None]:
    """Started after `s3`, whose variables its tasks inherit."""
    assert "AWS_ENDPOINT_URL" in os.environ
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def upload(folder: Path, where: Place) -> None:
    for file in folder.rglob("*.*"):
        (where / str(file.relative_to(folder))).write_bytes(file.read_bytes())


def command(tmp_path: Path, data: str, out: str, *more: str) -> list[str]:
    words = ["--checkpoint", str(weights(tmp_path)), "--data", data, out, "--image-size", "16"]
    return [*words, "--storage", str(tmp_path / "storage"), *more]


def rows(output: Output) -> pa.Table:
    """All rows of all files that are there, whatever parts should be."""
    names = [entry.name for entry in output.embeddings.folder.list()]
    files = [io.BytesIO((output.embeddings.folder / name).read_bytes()) for name in names]
    return pa.concat_tables(pq.read_table(file) for file in files)


def test_a_bucket_is_embedded_added_to_and_not_taken_for_another(
    cluster: None, s3: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = place(s3) / "images"
    upload(images(tmp_path / "images", 40, {"train/a/broken.jpg": b"no image"}), bucket)
    out = f"{s3}/embeddings"
    words = command(tmp_path, bucket.uri, out)

    assert main(words) == 0
    output = outputs.read(place(out))
    before = {entry.name: entry.etag_or_mtime for entry in output.embeddings.folder.list()}
    assert sorted(rows(output)["sample_id"].to_pylist()) == [i for i in range(41) if i != 20]  # the last one of class a
    assert "1 of 41 images cannot be read" in capsys.readouterr().out

    assert (
        main([*words, "--neighbours", "3", "--clusters", "2", "--into-folders", f"{out}-sorted", "--how", "copy"]) == 0
    )
    assert {entry.name: entry.etag_or_mtime for entry in output.embeddings.folder.list()} == before
    assert len(output.neighbours(3).read(0)) == 40
    assert len([entry for entry in place(f"{out}-sorted").list() if entry.name.endswith(".jpg")]) == 40
    assert "2 clusters by spherical k-means" in (output.folder / "clusters.html").read_bytes().decode()

    (bucket / "train/a/000.jpg").delete()
    assert main(words) == 2
    assert "has changed since it was embedded (41 images, now 40)" in capsys.readouterr().err
    for entry in bucket.list():
        (bucket / entry.name).delete()
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "there is nothing" in told
    assert told.count("\n") == 1


@pytest.mark.slow
def test_a_place_that_vanishes_half_way_is_one_line_and_resumes_once_it_is_back(
    cluster: None, s3: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, out, data = digits(s3, tmp_path, 60)
    words = command(tmp_path, bucket.uri, out.uri)
    with monkeypatch.context() as patched:
        patched.setattr(launched._Progress, "__call__", lambda *_: bucket.delete_tree())
        assert main(words) == 2
    told = capsys.readouterr().err
    assert f"{bucket}: its images have vanished; what is embedded stays in {out}" in told
    assert told.count("\n") == 1
    output = outputs.read(out)
    whole = {entry.name: entry.etag_or_mtime for entry in output.embeddings.folder.list()}
    for part in output.unreadable.to_try_again():
        whole.pop(f"part-{part:06d}.parquet")
    assert 0 < len(whole) < 60

    assert main(words) == 2
    assert "there is nothing" in capsys.readouterr().err
    (bucket / DIGITS).write_bytes(data)
    assert main(words) == 0
    assert whole.items() <= {entry.name: entry.etag_or_mtime for entry in output.embeddings.folder.list()}.items()
    assert sorted(rows(output)["sample_id"].to_pylist()) == list(range(output.images))


def digits(s3: str, tmp_path: Path, parts: int) -> tuple[Place, Place, bytes]:
    """A place of so many parts of tiny images on S3, one for their embeddings, and the bytes of its one file."""
    pixels = np.random.default_rng(0).integers(0, 256, (parts * 512 - 12, 8, 8), np.uint8)
    write_idx(tmp_path / DIGITS, pixels)
    bucket, data = place(s3) / "digits", (tmp_path / DIGITS).read_bytes()
    (bucket / DIGITS).write_bytes(data)
    return bucket, place(s3) / "embeddings", data


def kill_all(process: subprocess.Popen[str]) -> None:
    """The command and every process that it has started, at once."""
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in tree:
        one.kill()
    process.wait()


def killed_and_resumed(s3: str, tmp_path: Path, parts: int, kills: int) -> None:
    """The command on so many parts of tiny images, killed so often: at once, or once it has written up to three."""
    bucket, out, _ = digits(s3, tmp_path, parts)
    arguments = [sys.executable, "-m", "swav_ray.embed", *command(tmp_path, bucket.uri, out.uri)]
    written: dict[str, str] = {}
    chance = random.Random(0)
    for _ in range(kills):
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        wanted = len(written) + chance.randint(0, 3)
        limit = time.monotonic() + 600
        while len(list((out / "embeddings").list())) < wanted:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < limit
        kill_all(process)
        found = {entry.name: entry.etag_or_mtime for entry in (out / "embeddings").list()}
        assert written.items() <= found.items()  # nothing is done twice
        assert len(found) < parts  # else there was nothing left to kill
        written = found
    assert subprocess.run(arguments, capture_output=True, text=True, check=False).returncode == 0
    output = outputs.read(out)
    found = {entry.name: entry.etag_or_mtime for entry in output.embeddings.folder.list()}
    assert written.items() <= found.items()
    assert sorted(rows(output)["sample_id"].to_pylist()) == list(range(output.images))


@pytest.mark.slow
def test_killed_with_its_tasks_and_resumed_each_image_has_one_row(s3: str, tmp_path: Path) -> None:
    killed_and_resumed(s3, tmp_path, 21, 1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_ten_moments_and_resumed_each_image_has_one_row(s3: str, tmp_path: Path) -> None:
    killed_and_resumed(s3, tmp_path, 150, 10)
