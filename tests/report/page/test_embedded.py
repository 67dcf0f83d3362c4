"""The pictures of a run, made of a real checkpoint and real images, and what is kept of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from swav_ray.config import Config, replace
from swav_ray.data import manifest as manifests
from swav_ray.features import embedding
from swav_ray.recipes import quickstart
from swav_ray.report.page import embedded
from swav_ray.report.page.embedded import NoPictures, gallery_of
from swav_ray.report.page.gallery import cached
from swav_ray.report.page.maps import has_umap, maps_of
from swav_ray.run.layout import MANIFEST
from swav_ray.storage.place import Place
from swav_ray.training import checkpoint
from swav_ray.training.learner import Learner
from swav_ray.weights.backbone import Backbone
from tests.report.page.examples import write_run

STEPS = 3


def begun(folder: Path, images: int = 24, *, labelled: bool = True) -> tuple[Place, Config]:
    """A run on a few images with a checkpoint of a network that has not learned anything."""
    data = folder / "data"
    for number in range(images):
        kind = ["bright", "dark"][number % 2] if labelled else "."
        file = data / ("train" if labelled else ".") / kind / f"<b>{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 120, (40, 30, 3)) + (120 if number % 2 == 0 else 0)
        Image.fromarray(pixels.astype(np.uint8)).save(file)
    config = replace(quickstart(), data={"uri": str(data)}, train={"global_batch_size": 8})
    run_dir = write_run(folder / "run", config=config, finished=False)
    manifests.save(manifests.build(str(data)), run_dir / MANIFEST)
    learner = Learner(config, 1)
    checkpoint.write(run_dir, checkpoint.snapshot(learner, STEPS))
    return run_dir, config


def test_pictures_are_of_the_runs_images(tmp_path: Path) -> None:
    run_dir, config = begun(tmp_path)
    found = gallery_of(run_dir, config)
    assert (found.step, found.images, len(found.pictures), found.prototypes) == (STEPS, 24, 24, 100)
    assert {picture.label for picture in found.pictures} == {"bright", "dark"}
    assert found.pictures[0].name.endswith(".png")
    assert sum(cluster.images for cluster in found.clusters) == 24
    assert found.used == len(set(found.assigned))
    for cluster in found.clusters:
        assert all(found.assigned[image] == cluster.number for image in cluster.nearest)
    assert all(len(item.after) == len(item.before) == 8 and item.query not in item.after for item in found.neighbours)
    assert [side for side, _ in found.crops[0].crops] == [32, 32]
    assert found.began == "the same network untrained, seed 0"
    # Nothing was learned: the network is the one that it was before.
    assert all(item.after == item.before for item in found.neighbours)


def test_images_are_embedded_at_the_size_of_the_crops_with_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir, config = begun(tmp_path)
    config = replace(
        config,
        crops={"sizes": (16, 24), "counts": (1, 2), "min_scales": (0.1, 0.4), "max_scales": (0.3, 1.0)},
        assignment={"crops_for_assign": (2, 1)},
    )
    sides = set()

    def embed(backbone: Backbone, crops: np.ndarray, device: torch.device) -> np.ndarray:
        sides.add(crops.shape[1:])
        return embedding.embed(backbone, crops, device)

    monkeypatch.setattr(embedded, "embed", embed)
    assert gallery_of(run_dir, config).embedded_side == 24
    assert sides == {(24, 24, 3)}


def test_pictures_of_an_earlier_version_are_kept(tmp_path: Path) -> None:
    run_dir, config = begun(tmp_path)
    gallery_of(run_dir, config)
    written = json.loads((run_dir / "gallery.json").read_bytes())
    del written["embedded_side"]
    (run_dir / "gallery.json").write_bytes(json.dumps(written).encode())
    found = gallery_of(run_dir, config)
    assert (found.embedded_side, len(found.pictures)) == (0, 24)


def test_they_are_made_once_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir, config = begun(tmp_path)
    found = gallery_of(run_dir, config)
    assert cached(run_dir, STEPS) == found
    assert cached(run_dir, STEPS + 1) is None
    monkeypatch.setattr(embedded, "load_backbone", None)
    assert gallery_of(run_dir, config) == found
    (run_dir / "gallery.json").write_bytes(b'{"step": 3, "version": 1, "pic')
    assert cached(run_dir, STEPS) is None


def test_one_image_without_a_label_has_pictures(tmp_path: Path) -> None:
    run_dir, config = begun(tmp_path, images=1, labelled=False)
    found = gallery_of(run_dir, config)
    assert (len(found.pictures), found.neighbours, found.clusters[0].purity) == (1, (), None)
    assert len(found.maps[0].points) == 1


def test_images_that_are_gone_are_said(tmp_path: Path) -> None:
    run_dir, config = begun(tmp_path)
    for file in (tmp_path / "data").rglob("*.png"):
        file.unlink()
    with pytest.raises(NoPictures, match=r"no image of .* can be read"):
        gallery_of(run_dir, config)


def test_a_run_without_a_checkpoint_has_none_yet(tmp_path: Path) -> None:
    with pytest.raises(NoPictures, match="no checkpoint yet"):
        gallery_of(write_run(tmp_path / "r"), quickstart())


def test_an_affordable_number_of_images_is_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir, config = begun(tmp_path)
    monkeypatch.setattr(embedded, "_SECONDS", 0.0)
    monkeypatch.setattr(embedded, "_LEAST_IMAGES", 6)
    assert len(gallery_of(run_dir, config).pictures) == 6


def test_a_map_keeps_far_apart_what_is_far_apart_even_beside_what_is_no_number() -> None:
    features = np.concatenate([np.eye(4)[[0] * 10], np.eye(4)[[1] * 10], np.full((1, 4), np.nan)])
    ((how, points),) = maps_of(features, umap=False)
    assert how.startswith("PCA of the features")
    assert abs(points[0][0] - points[10][0]) > 1
    assert np.isfinite(points).all()


@pytest.mark.slow
@pytest.mark.skipif(not has_umap(), reason="the extra map is not installed")
def test_umap_gives_a_second_map_to_whoever_waits(tmp_path: Path) -> None:
    run_dir, config = begun(tmp_path)
    assert len(gallery_of(run_dir, config).maps) == 1
    found = gallery_of(run_dir, config, patient=True)
    assert [one.how.split()[0] for one in found.maps] == ["UMAP", "PCA"]
