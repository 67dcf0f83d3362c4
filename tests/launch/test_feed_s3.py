"""Training on images in a real S3 that is unavailable for 20 seconds: it waits, then trains on what was planned."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from benchmarks.parts.s3_server import S3Server
from swav_ray.data import manifest
from swav_ray.data.sample_plan import SamplePlan, digest
from swav_ray.launch.train import train
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import place
from tests.launch.conftest import tiny

pytestmark = [pytest.mark.ray, pytest.mark.s3]
OUTAGE = 20.0  # seconds


@pytest.mark.slow
def test_an_outage_in_the_middle_of_an_epoch_costs_a_wait(
    two_cpus: None, s3_images: str, s3_server: S3Server, tmp_path: Path
) -> None:
    length = {"epochs": 60, "global_batch_size": 8}
    config = tiny(Path(), tmp_path, "outage", data={"uri": s3_images}, train=length, eval={"knn_every_epochs": 0})
    end = 60 * 72 // 8
    run_dir = place(tmp_path / "outage")
    at: list[int] = []

    def take_away() -> None:
        while len(read_metrics(run_dir)) < 5:
            time.sleep(0.05)
        s3_server.kill()
        time.sleep(OUTAGE)
        at.append(len(read_metrics(run_dir)))
        s3_server.start()

    thread = threading.Thread(target=take_away, daemon=True)
    thread.start()
    try:
        assert train(config) is not None
    finally:
        thread.join(timeout=60)
    records = read_metrics(run_dir)
    assert at[0] < end, "the run was over before the outage was"
    plan = SamplePlan(manifest.build(s3_images).train_ids(), config.run.seed, config.train.global_batch_size)
    assert [record["ids"] for record in records] == [digest(batch) for batch in plan.batches(0, end)]
    assert sum(record["retries"] for record in records) > 0
    assert sum(record["bytes_read"] for record in records) > 0
    assert all(0 <= record["object_store_bytes"] <= record["object_store_capacity"] for record in records)
