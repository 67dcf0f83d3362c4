"""One small Ray cluster and one small data set for the tests of a module."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from benchmarks.parts.patient_start import patient_start
from swav_ray.config import Config, replace
from swav_ray.data.shapes import write_shapes
from swav_ray.recipes import quickstart
from swav_ray.storage.place import place
from tests.data.test_batches import write_images


@pytest.fixture(scope="session", autouse=True)
def workers_get_their_cpu() -> Iterator[None]:
    """Ray gives its workers a niceness of 15, at which tests in another process take the CPUs from them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        yield


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[None]:
    with patient_start(240):
        yield


@pytest.fixture(scope="package")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 training images and 24 held-out ones in Parquet shards."""
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(place(folder), train=72, test=24, size=32, seed=0, rows_per_shard=40)
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    # "local", since a cluster that someone else runs on this machine is not ours to test on.
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def s3_images(s3: str, tmp_path: Path) -> str:
    """72 images in S3."""
    write_images(tmp_path, 72)
    for file in tmp_path.glob("*.jpg"):
        (place(s3) / "images" / file.name).write_bytes(file.read_bytes())
    return f"{s3}/images"


@pytest.fixture
def two_cpus(s3: str) -> Iterator[None]:
    """One for the training worker, one for crops; started after `s3`, whose variables the workers inherit."""
    assert "AWS_ENDPOINT_URL" in os.environ
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def tiny(images: Path, storage: Path, name: str, **sections: dict[str, object]) -> Config:
    """Nine steps an epoch of a net that trains in milliseconds."""
    base = replace(
        quickstart(),
        run={"name": name, "storage": str(storage), "progress_seconds": 0.1},
        data={"uri": str(images)},
        crops={"sizes": (16, 8), "counts": (2, 2), "min_scales": (0.3, 0.1), "max_scales": (1.0, 0.4)},
        model={"width": 0.125, "hidden_dim": 12, "output_dim": 8, "prototypes": (6,)},
        queue={"length": 16, "start_epoch": 1},
        # A small trust coefficient: a net this small at a high rate would magnify rounding from step to step.
        optim={"warmup_epochs": 0.5, "freeze_prototypes_steps": 3, "trust_coefficient": 0.001},
        train={"epochs": 3, "global_batch_size": 8},
        eval={"image_size": 16, "knn_every_epochs": 2},
    )
    return replace(base, **sections)
