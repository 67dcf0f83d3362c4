"""What a cache on the node's disk saves and costs: epochs of crops from S3 with it, beside the same without it.

    python -m benchmarks.node_cache [--images DIR] [--latency SECONDS] [--rounds N]

Prints one JSON line. The images lie in a SeaweedFS on this machine, each of whose requests takes `--latency`. Each
round makes two epochs of crops without a cache and two with an empty one, turn by turn:

- requests, megabytes: from S3, of the first and the second epoch.
- images_per_second: by the clock. `ratio` is that of the second epoch with the cache, by that without it.
- first_epoch_ratio: the same of the first epoch, whose images are also written to the disk.
- read_ms: CPU milliseconds to read an image from S3, from S3 and into the cache, and from the cache, without crops.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.parts.s3_server import s3_on_this_machine
from benchmarks.parts.slow_line import slow_line
from benchmarks.s3_reads import copy_to_bucket, maker_of, write_images
from swav_ray.data.batches import BatchMaker
from swav_ray.data.sources import read_samples
from swav_ray.storage.node_cache import NodeCache
from swav_ray.storage.place import stats

CACHE_BYTES = 4 << 30


class Epoch(NamedTuple):
    """Of one epoch: requests to S3, megabytes from it, and images cropped a second."""

    requests: int
    megabytes: float
    rate: float


def epoch_of(maker: BatchMaker, epoch: int) -> Epoch:
    """Makes all batches of an epoch."""
    steps = maker.plan.steps_per_epoch
    planned = list(maker.plan.batches(epoch * steps, (epoch + 1) * steps))
    before, began = stats(), time.perf_counter()
    samples = maker.reader(np.concatenate(planned))
    for step, ids in enumerate(planned):
        maker.make(epoch * steps + step, ids, samples=samples)
    rate = sum(map(len, planned)) / (time.perf_counter() - began)
    after = stats()
    read = (after["bytes_read"] - before["bytes_read"]) / 1e6
    return Epoch(after["requests"] - before["requests"], round(read, 1), rate)


def read_ms(maker: BatchMaker, cache: NodeCache | None) -> float:
    """CPU milliseconds an image, to read all of them."""
    began = time.process_time()
    for _ in read_samples(maker.manifest, maker.plan.ids, cache):
        pass
    return 1000 * (time.process_time() - began) / len(maker.plan.ids)


def compared(maker: BatchMaker, folder: Path, rounds: int) -> dict[str, Any]:
    epoch_of(maker, 0)  # makes connections, compiles
    found: dict[str, list[list[Epoch]]] = {"without": [], "with": []}
    reads: list[tuple[float, float, float]] = []
    for number in range(rounds):
        cached = dataclasses.replace(maker, cache=NodeCache(str(folder / f"crops-{number}"), CACHE_BYTES))
        for name, one in (("without", maker), ("with", cached)):
            found[name].append([epoch_of(one, 0), epoch_of(one, 1)])
            print(f"{name}: {found[name][-1]}", file=sys.stderr)
        empty = NodeCache(str(folder / f"reads-{number}"), CACHE_BYTES)
        reads.append((read_ms(maker, None), read_ms(maker, empty), read_ms(maker, empty)))

    def ratio(epoch: int) -> float:
        """Median over the rounds, since within one of them the machine is the same."""
        pairs = zip(found["with"], found["without"], strict=True)
        return round(statistics.median(one[epoch].rate / other[epoch].rate for one, other in pairs), 3)

    def rates(name: str) -> list[float]:
        return [round(statistics.median(each[epoch].rate for each in found[name]), 1) for epoch in (0, 1)]

    return {
        "benchmark": "node_cache",
        "images": len(maker.plan.ids),
        "requests": {name: [one.requests for one in each[-1]] for name, each in found.items()},
        "megabytes": {name: [one.megabytes for one in each[-1]] for name, each in found.items()},
        "images_per_second": {name: rates(name) for name in found},
        "ratio": ratio(1),
        "first_epoch_ratio": ratio(0),
        "read_ms": {
            name: round(statistics.median(each[index] for each in reads), 3)
            for index, name in enumerate(("s3", "s3_and_write", "cache"))
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, help="folder of images (default: photos of scikit-learn, 1,024 files)")
    parser.add_argument("--latency", type=float, default=0.03, help="of a request, in seconds (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each contender (default %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with contextlib.ExitStack() as stack:
        folder, server = stack.enter_context(s3_on_this_machine("node_cache"))
        bucket = copy_to_bucket(server, arguments.images or write_images(folder / "photos"))
        maker = maker_of(bucket)
        os.environ["AWS_ENDPOINT_URL"] = stack.enter_context(slow_line(server.endpoint, arguments.latency))
        print(json.dumps(compared(maker, folder, arguments.rounds)))


if __name__ == "__main__":
    main()
