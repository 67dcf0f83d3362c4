"""What `data.shuffle_block` saves in requests to S3, and what it costs in mixing.

    python -m benchmarks.shuffle_block [--images N] [--latency SECONDS] [--seconds S]

N JPEGs of about 20 KB in class folders lie in shards that `swav_ray.data import` wrote to a SeaweedFS on this machine,
once in the order of their classes and once with `--shuffle`.
One process reads the samples of task after task of an epoch, 512 samples a task, through a line on which each request
takes `--latency`. Prints one JSON line with, for each setting (block, window; 0: the random order of all samples):

- requests_an_image, and bytes_read: of storage, the latter beside those of the images.
- images_a_second, and `ratio`: beside the random order of all samples, of the same run.
- blocks_a_batch: different neighbourhoods of `block` samples in a batch of 256. same_class: pairs of one class in a
  batch, beside the random order of all samples.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.multi_crop import jpeg, sample_photos
from benchmarks.parts.s3_server import S3Server, s3_on_this_machine
from benchmarks.parts.slow_line import slow_line
from swav_ray.data import manifest as manifests
from swav_ray.data.manifest import Manifest
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.data.sources import read_samples
from swav_ray.data.tools.importer import import_shards
from swav_ray.storage import place as storage

SETTINGS = ((0, 0), (16, 512), (64, 512), (16, 4096), (64, 4096), (256, 4096))
TASK, BATCH = 512, 256
_CLASSES = 32


def write_shards(folder: Path, server: S3Server, *, shuffled: bool) -> Manifest:
    bucket = server.make_bucket("shuffled" if shuffled else "sorted")
    import_shards(str(folder), bucket, shuffle=shuffled)
    return manifests.build(bucket)


def write_images(images: int, folder: Path) -> None:
    """In class folders, so that their order is that of their classes."""
    photos = [jpeg(photo, (256, 192), 20_000) for photo in sample_photos()]
    for index in range(images):
        file = folder / f"class{index * _CLASSES // images:02d}" / f"{index:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(photos[index % len(photos)])


def measure(found: Manifest, block: int, window: int, seconds: float) -> dict[str, Any]:
    plan = SamplePlan(found.train_ids(), 0, TASK, block, window)
    before, began, images, step = storage.stats(), time.perf_counter(), 0, 0
    while time.perf_counter() - began < seconds and step < plan.steps_per_epoch:
        (ids,) = plan.batches(step, step + 1)
        for sample in read_samples(found, ids):
            assert isinstance(sample, bytes), sample
        images, step = images + TASK, step + 1
    took, after = time.perf_counter() - began, storage.stats()
    lengths = found.table["length"].to_numpy()
    batches = SamplePlan(found.train_ids(), 0, BATCH, block, window)
    planned = batches.batches(0, batches.steps_per_epoch)
    return {
        "block": block,
        "window": window,
        "requests_an_image": round((after["requests"] - before["requests"]) / images, 4),
        "bytes_read": round((after["bytes_read"] - before["bytes_read"]) / (images * float(lengths.mean())), 3),
        "images_a_second": round(images / took, 1),
        "blocks_a_batch": round(float(np.mean([len(np.unique(ids // max(1, block))) for ids in planned])), 1),
        "same_class": float(np.mean([_same(found.labels[ids]) for ids in planned])),
    }


def _same(labels: np.ndarray) -> float:
    """The share of pairs that have one label."""
    counts = np.bincount(labels)
    return float((counts * (counts - 1)).sum() / (len(labels) * (len(labels) - 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=16_384)
    parser.add_argument("--latency", type=float, default=0.03, help="of a request, in seconds (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each setting, at most (default %(default)s)")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder, server = stack.enter_context(s3_on_this_machine("shuffle_block"))
        write_images(arguments.images, folder / "images")
        both = [write_shards(folder / "images", server, shuffled=shuffled) for shuffled in (False, True)]
        far = stack.enter_context(slow_line(server.endpoint, arguments.latency))
        stack.enter_context(mock.patch.dict(os.environ, {"AWS_ENDPOINT_URL": far}))
        results = []
        for found, order in zip(both, ("sorted", "shuffled"), strict=True):
            next(read_samples(found, np.array([0])))  # connects
            for block, window in SETTINGS:
                results.append({"shards": order} | measure(found, block, window, arguments.seconds))
                print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    for result in results:
        result["ratio"] = round(result["images_a_second"] / results[0]["images_a_second"], 3)
        result["same_class"] = round(result["same_class"] / _same(both[0].labels), 2)
    print(json.dumps({"benchmark": "shuffle_block", "latency_s": arguments.latency, "settings": results}))


if __name__ == "__main__":
    main()
