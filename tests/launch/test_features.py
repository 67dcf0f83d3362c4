"""Features of images in a real S3: killed and resumed with nothing done twice, and images that vanish meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
import torch

from benchmarks.parts.s3_server import S3Server
from swav_ray.data import manifest as manifests
from swav_ray.data.sources import read_samples
from swav_ray.evaluate.features import store
from swav_ray.evaluate.features.labelled import Labelled
from swav_ray.evaluate.features.splits import Split
from swav_ray.launch.features import labelled
from swav_ray.storage.place import place
from swav_ray.weights.backbone import load_backbone
from tests.data.images import image
from tests.weights import foreign

pytestmark = [pytest.mark.ray, pytest.mark.s3]
IMAGES, PART_ROWS, PARTS = 60, 4, 3  # of the whole, of a part, and written before the kill


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server) -> Iterator[str]:
    """With the variables that Ray's processes inherit."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        made = s3_server.make_bucket("features")
        for i in range(IMAGES):
            (place(made) / f"images/{i:03d}.jpg").write_bytes(image(i))
        yield made


@pytest.fixture(scope="module")
def two_cpus(bucket: str) -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(store, "PART_ROWS", PART_ROWS)
    file = tmp_path / "weights.pth"
    file.write_bytes(foreign.saved(foreign.published(foreign.model().state_dict())))
    return str(file)


def features(weights: str, images: str, folder: str, progress: Callable[[int, int], None]) -> Labelled:
    made = manifests.build(images)
    split = Split(made, np.arange(len(made)), np.zeros(len(made), np.int64), ["all"])
    backbone = load_backbone(weights, image_size=16)
    (found,) = labelled(backbone, [split], place(folder), progress)
    return found


def expected(weights: str, images: str) -> np.ndarray:
    """One image after another, without Ray."""
    made, backbone = manifests.build(images), load_backbone(weights, image_size=16)
    rows = [backbone.preprocess(data) for data in read_samples(made, np.arange(len(made)))]
    with torch.no_grad():
        return backbone(torch.stack(rows)).numpy()  # type: ignore[no-any-return]


def parts_in(folder: str) -> dict[str, str]:
    """The parts there are, and their versions."""
    return {entry.name: entry.etag_or_mtime for entry in place(folder).list() if "/part-" in f"/{entry.name}"}


@pytest.mark.slow
def test_a_killed_extraction_resumes_with_nothing_done_twice(bucket: str, two_cpus: None, weights: str) -> None:
    images, folder = f"{bucket}/images", f"{bucket}/killed"
    command = [sys.executable, "-m", "tests.launch.features_child", weights, images, folder, str(PART_ROWS), str(PARTS)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    before = parts_in(folder)
    assert PARTS <= len(before) < IMAGES // PART_ROWS
    done: list[tuple[int, int]] = []
    found = features(weights, images, folder, lambda *counts: done.append(counts))
    assert done[-1] == (IMAGES - PART_ROWS * len(before),) * 2
    assert before.items() <= parts_in(folder).items()
    np.testing.assert_allclose(found.features, expected(weights, images), rtol=1e-4, atol=1e-5)
    done.clear()
    features(weights, images, folder, lambda *counts: done.append(counts))
    assert done == []


def test_images_that_vanish_are_named_and_tried_again_when_they_are_back(
    bucket: str, two_cpus: None, weights: str
) -> None:
    images, folder = place(bucket) / "images", f"{bucket}/vanished"
    made = manifests.build(images.uri)
    split = Split(made, np.arange(IMAGES), np.zeros(IMAGES, np.int64), ["all"])
    backbone = load_backbone(weights, image_size=16)
    for i in (5, 41):
        (images / f"{i:03d}.jpg").delete()
    (found,) = labelled(backbone, [split], place(folder), lambda *_: None)
    assert len(found) == IMAGES - 2
    assert [line.split(": ")[0] for line in found.unreadable] == [f"{images}/{i:03d}.jpg" for i in (5, 41)]
    for i in (5, 41):
        (images / f"{i:03d}.jpg").write_bytes(image(i))
    done: list[tuple[int, int]] = []
    (found,) = labelled(backbone, [split], place(folder), lambda *counts: done.append(counts))
    assert done[-1] == (2 * PART_ROWS, 2 * PART_ROWS)
    assert (len(found), found.unreadable) == (IMAGES, [])
    np.testing.assert_allclose(found.features, expected(weights, images.uri), rtol=1e-4, atol=1e-5)
