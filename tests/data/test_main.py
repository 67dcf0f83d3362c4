"""`python -m swav_ray.data`: one line for each mistake, the exit status says whose it is."""

from __future__ import annotations

import io
import json
import os
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from swav_ray import settings
from swav_ray.config import AugmentConfig, Config, CropsConfig, DataConfig
from swav_ray.data.__main__ import main
from swav_ray.data.holdout import split
from swav_ray.data.manifest import build, cache_of, cached_at, load, load_or_build
from swav_ray.data.tools import check as check_module
from swav_ray.data.tools.preview import contact_sheet
from swav_ray.storage.place import place
from tests.data.images import image, write_files, write_photos

SMALL = CropsConfig(sizes=(48, 16), counts=(2, 3), min_scales=(0.3, 0.1), max_scales=(1.0, 0.3))


def test_index_makes_a_manifest_and_a_mistake_is_one_line(
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


def test_runs_of_a_storage_find_the_manifest_that_index_cached_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = str(write_files(tmp_path / "images", {f"{i}.jpg": b"x" for i in range(3)}))
    storage = str(tmp_path / "runs")
    assert main(["index", images, "--storage", storage]) == 0
    kept_at = cached_at(images, cache_of(storage))
    assert capsys.readouterr().out.endswith(f"manifest: {kept_at}\n")
    monkeypatch.setattr("swav_ray.data.manifest._index", lambda *_: pytest.fail("indexed once more"))
    assert len(load_or_build(images, cache_of(storage))) == 3


def test_import_says_what_it_did_and_a_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_photos(tmp_path / "photos")
    out = tmp_path / "out"
    assert main(["import", str(photos), str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 36 images in 2 shards\n"
    assert main(["import", str(photos), str(out)]) == 0
    assert capsys.readouterr().out.endswith("2 of which were there already\n")
    assert main(["import", str(photos / "nope"), str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["import", str(photos), str(out), "--shard-mib", "none"]) == 2
    assert "argument --shard-mib: 'none' is not a positive whole number" in capsys.readouterr().err


def test_import_says_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_photos(tmp_path / "photos")
    (photos / "lost.jpg").symlink_to("nowhere.jpg")
    assert main(["import", str(photos), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err == "left out 1 links that lead nowhere; for example lost.jpg\n"


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    good = {f"good/{i:03d}.jpg": image(i) for i in range(200)}
    bad = {"bad/a.jpg": b"", "bad/b.jpg": b"no image", "bad/c.jpg": image(1)[:-400], "bad/d.png": b""}
    return write_files(tmp_path / "images", good | bad)


def test_the_report_is_text_or_json(
    damaged: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(damaged.parent)
    out = damaged.parent / "bad.csv"
    assert main(["check", str(damaged), "--json", "--workers", "1", "--csv", str(out)]) == 1
    assert out.read_text().splitlines()[0] == "sample_id,uri,kind,reason"
    assert len(out.read_text().splitlines()) == 5
    report = json.loads(capsys.readouterr().out)
    assert (report["images"], report["unreadable"], report["kinds"]["empty"]) == (204, 4, 2)
    assert report["bad"][0]["uri"] == os.path.join(damaged, "bad", "a.jpg")
    assert main(["check", str(damaged), "--allow", "--workers", "1"]) == 0
    assert capsys.readouterr().out.startswith("204 images, 4 unreadable")


def test_a_killed_worker_is_reported_in_one_line(
    damaged: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(damaged.parent)
    with mock.patch.object(check_module, "_in_flight", side_effect=BrokenProcessPool("killed")):
        assert main(["check", str(damaged), "--workers", "1"]) == 1
    assert "use fewer --workers" in capsys.readouterr().err


def test_the_command_writes_a_png(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path / "images", {f"{i}.jpg": image(i) for i in range(3)})
    assert main(["preview", str(tmp_path / "images"), str(tmp_path / "out" / "sheet.png"), "--samples", "2"]) == 0
    sheet = Image.open(io.BytesIO((tmp_path / "out" / "sheet.png").read_bytes()))
    assert capsys.readouterr().out == f"{tmp_path}/out/sheet.png: {sheet.width} x {sheet.height} pixels\n"


def test_the_command_takes_a_runs_config_and_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path / "images", {f"{i}.jpg": image(i) for i in range(3)})
    file, sheet = tmp_path / "config.yaml", tmp_path / "sheet.png"
    file.write_text(settings.to_yaml(Config(crops=SMALL, augment=AugmentConfig(flip_probability=1.0))))
    command = ["preview", str(tmp_path / "images"), str(sheet), "--samples", "1", "--config", str(file)]
    assert main([*command, "--crops.sizes", "40", "16"]) == 0
    config = Config(
        crops=CropsConfig(sizes=(40, 16), counts=(2, 3), min_scales=(0.3, 0.1), max_scales=(1.0, 0.3)),
        augment=AugmentConfig(flip_probability=1.0),
    )
    expected = contact_sheet(build(str(tmp_path / "images")), config, samples=1)
    assert np.array_equal(np.asarray(Image.open(sheet)), np.asarray(expected))
    capsys.readouterr()
    for words, said in (
        (["--crop.sizes", "40", "16"], "crop.sizes: no such setting; did you mean crops.sizes?"),
        (["--config", str(tmp_path / "none.yaml")], "none.yaml': is no readable YAML file"),
    ):
        assert main([*command[:5], *words]) == 2
        assert said in capsys.readouterr().err
    assert main(["index", str(tmp_path / "images"), "--crops.sizes", "40"]) == 2
    assert "--crops.sizes: this command takes no settings" in capsys.readouterr().err


def test_runs_know_which_images_are_copies_after_a_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shards of others say no size of an image, so that nothing is known of them before."""
    images = [image(seed) for seed in (1, 2, 1)]
    table = pa.table({"image": images, "label": [0, 1, 0], "split": ["train", "train", "test"]})
    pq.write_table(table, tmp_path / "images.parquet")
    where, storage = str(tmp_path / "images.parquet"), str(tmp_path / "runs")
    assert not load_or_build(where, cache_of(storage)).contents.any()  # type: ignore[union-attr]
    assert main(["check", where, "--storage", storage, "--workers", "1"]) == 0
    assert "1 held-out images have a twin among the training images" in capsys.readouterr().out
    known = load_or_build(where, cache_of(storage))
    assert [ids.tolist() for ids in split(known, DataConfig())] == [[0, 1], []]
