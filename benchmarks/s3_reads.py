"""What reading from S3 costs a process that makes crops: our reader beside other clients, and beside local files.

    python -m benchmarks.s3_reads [--images DIR] [--latency SECONDS] [--seconds S] [--rounds N]

Prints one JSON line. All contenders take turns in one run, over the same images, from a SeaweedFS on this machine:

- cpu_ms_per_read: CPU milliseconds of this process to read an image and do nothing else.
- cpu_ms_per_image: to read an image and crop it, while the next ones are under way.
- rate_by_local: images per CPU second beside local files. rate_by_boto3: the same beside boto3 in threads.
- far: milliseconds by the clock to read and crop an image if each request takes `--latency`, as it is and with
  each batch read before it is cropped, and from local files.

The other clients are in the extra `bench`; one that is not installed is listed under `absent`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.multi_crop import jpeg, sample_photos
from benchmarks.parts.s3_arms import ARMS, Arm
from benchmarks.parts.s3_server import S3Server, s3_on_this_machine
from benchmarks.parts.slow_line import slow_line
from swav_ray.config import AugmentConfig, CropsConfig
from swav_ray.data import batches
from swav_ray.data import manifest as manifests
from swav_ray.data.batches import BatchMaker, SampleReader
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.manifest import Manifest
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.data.sources import Sample, read_samples
from swav_ray.storage.place import place

BATCH = 128
TOGETHER = 4  # batches whose images are read ahead, as a crop task has them

Read = Callable[..., Iterator[Sample]]  # of a manifest, ids (rows,) and a cache


def read_first(manifest: Manifest, sample_ids: np.ndarray, _cache: None = None) -> Iterator[Sample]:
    """Every image before the first is cropped."""
    return iter(list(read_samples(manifest, sample_ids)))


def read_by(arm: Arm) -> Read:
    """The images of files in a bucket, through another client."""
    return lambda manifest, ids, _cache=None: arm(manifest.table.column("uri").take(ids).to_pylist())


class Contender:
    """Batches of the plan, one after the other, cropped or only read."""

    def __init__(self, maker: BatchMaker, read: Read = read_samples, endpoint: str = "", *, crops: bool = True) -> None:
        self._maker, self._read, self._endpoint, self._crops = maker, read, endpoint, crops
        self._steps = itertools.count()

    def round(self, seconds: float) -> tuple[float, float]:
        """Milliseconds an image, of CPU time and by the clock."""
        environment = {"AWS_ENDPOINT_URL": self._endpoint} if self._endpoint else {}
        with mock.patch.dict(os.environ, environment), mock.patch.object(batches, "read_samples", self._read):
            self._some()  # makes connections, compiles
            images, began, used = 0, time.perf_counter(), time.process_time()
            while (wall := time.perf_counter() - began) < seconds:
                images += self._some()
            return (time.process_time() - used) / images * 1e3, wall / images * 1e3

    def _some(self) -> int:
        first = next(self._steps) * TOGETHER
        planned = list(self._maker.plan.batches(first, first + TOGETHER))
        samples = SampleReader(self._maker.manifest, np.concatenate(planned))
        for step, ids in enumerate(planned, first):
            if self._crops:
                made = self._maker.make(step, ids, samples=samples)
                assert not made.bad, made.bad[0]
            else:
                assert all(isinstance(sample, bytes) for sample in samples.take(len(ids)))
        return TOGETHER * BATCH


def write_images(folder: Path) -> Path:
    """1,024 JPEGs of 500 x 375 and about 66 KB."""
    folder.mkdir()
    photos = [jpeg(photo, (500, 375), 66_000) for photo in sample_photos()]
    for index in range(1024):
        (folder / f"{index:04d}.jpg").write_bytes(photos[index % len(photos)])
    return folder


def copy_to_bucket(server: S3Server, local: Path) -> str:
    target = place(server.make_bucket("photos"))
    files = [file for file in sorted(local.rglob("*")) if file.is_file()]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda file: (target / str(file.relative_to(local))).write_bytes(file.read_bytes()), files))
    return target.uri


def other_arms(bucket: str) -> tuple[dict[str, Read], list[str]]:
    """The other clients, and the names of those that are not installed."""
    arms, absent = {}, []
    for name, make in ARMS.items():
        try:
            arms[name] = read_by(make(bucket))
        except ImportError:
            absent.append(name)
    return arms, absent


def maker_of(uri: str) -> BatchMaker:
    found = manifests.build(uri)
    return BatchMaker(found, SamplePlan(found.train_ids(), 0, BATCH), MultiCrop(CropsConfig(), AugmentConfig(), 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, help="folder of images (default: photos of scikit-learn, 1,024 files)")
    parser.add_argument("--latency", type=float, default=0.03, help="of a request, in seconds (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender (default %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with contextlib.ExitStack() as stack:
        folder, server = stack.enter_context(s3_on_this_machine("s3_reads"))
        local = arguments.images or write_images(folder / "photos")
        makers = maker_of(str(local)), maker_of(copy_to_bucket(server, local))
        far = stack.enter_context(slow_line(server.endpoint, arguments.latency))
        print(json.dumps(compared(*makers, far, arguments)))


def compared(local: BatchMaker, s3: BatchMaker, far: str, arguments: argparse.Namespace) -> dict[str, Any]:
    others, absent = other_arms(s3.manifest.root.removeprefix("s3://"))
    reads: dict[str, Contender] = {"local": Contender(local, crops=False)}
    crops: dict[str, Contender] = {"local": Contender(local)}
    for name, read in {"ours": read_samples, **others}.items():
        reads[name], crops[name] = Contender(s3, read, crops=False), Contender(s3, read)
    distant = {"far": Contender(s3, endpoint=far), "far_read_first": Contender(s3, read_first, far)}
    contenders = {
        **{("read", name): one for name, one in reads.items()},
        **{("crop", name): one for name, one in (crops | distant).items()},
    }
    rounds: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in contenders}
    for _ in range(arguments.rounds):
        for key, contender in contenders.items():
            rounds[key].append(contender.round(arguments.seconds))
            cpu, clock = rounds[key][-1]
            print(f"{' '.join(key)}: {cpu:.3f} ms of CPU, {clock:.3f} ms by the clock", file=sys.stderr)

    def median(task: str, name: str, clock: bool = False) -> float:
        return round(statistics.median(pair[clock] for pair in rounds[task, name]), 3)

    def ratio(beside: str, name: str, clock: bool = False) -> float:
        """Median over the rounds, since within one of them the machine is the same."""
        pairs = zip(rounds["crop", beside], rounds["crop", name], strict=True)
        return round(statistics.median(one[clock] / other[clock] for one, other in pairs), 3)

    return {
        "benchmark": "s3_reads",
        "cpu_ms_per_read": {name: median("read", name) for name in reads},
        "cpu_ms_per_image": {name: median("crop", name) for name in crops},
        "rate_by_local": {name: ratio("local", name) for name in crops if name != "local"},
        "rate_by_boto3": {name: ratio("boto3", name) for name in crops if name not in ("local", "boto3")},
        "far": {
            "latency_s": arguments.latency,
            "ms_per_image": {name: median("crop", name, True) for name in ("local", *distant)},
            "rate_by_local": ratio("local", "far", True),
            "rate_by_read_first": ratio("far_read_first", "far", True),
        },
        "absent": absent,
    }


if __name__ == "__main__":
    main()
