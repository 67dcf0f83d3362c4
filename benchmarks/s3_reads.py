"""What reading from S3 costs one process that makes crops: CPU time of a read, and waiting on a distant server.

    python -m benchmarks.s3_reads [--images DIR] [--latency SECONDS] [--seconds S] [--rounds N]

Prints one JSON line: CPU milliseconds of this process to read an image, as `read_samples` does (libcurl) and as it
would through boto3; then milliseconds by the clock to read and crop one, from local files, from a SeaweedFS on this
machine, and from the same behind a line that delays each request by `--latency`, as it is (crops are made while the
next images are on their way) and with each batch read before it is cropped. The contenders take turns in one run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from pipeline import images

from swav_ray.config import AugmentConfig, CropsConfig
from swav_ray.data import batches
from swav_ray.data import manifest as manifests
from swav_ray.data.batches import BatchMaker
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.data.sources import Sample, read_samples
from swav_ray.storage.s3 import address as s3_address

BATCH = 128


def serve_slowly(target: int, latency: float, port: Any) -> None:
    """A line to the server on port `target` on which what the client says takes `latency` seconds."""

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, delay: float) -> None:
        try:
            while data := await source.read(1 << 18):
                await asyncio.sleep(delay)
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        sink.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(pump(reader, far_writer, latency), pump(far_reader, writer, 0))

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def read_first(manifest: Any, sample_ids: Any) -> Iterator[Sample]:
    return iter(list(read_samples(manifest, sample_ids)))


class Contender:
    """Batches of the plan, one after the other, made or only read."""

    def __init__(self, maker: BatchMaker, endpoint: str = "", *, crops: bool = True, patch: Any = None) -> None:
        self._maker, self._endpoint, self._crops, self._patch, self._step = maker, endpoint, crops, patch, 0

    def round(self, seconds: float) -> float:
        """Milliseconds an image: by the clock where crops are made, else of CPU time."""
        if self._endpoint:
            os.environ["AWS_ENDPOINT_URL"] = self._endpoint
        clock = time.perf_counter if self._crops else time.process_time
        with self._patch or contextlib.nullcontext():
            self._one()  # connections, and what is compiled
            images, began, started = 0, time.perf_counter(), clock()
            while time.perf_counter() - began < seconds:
                images += self._one()
        return (clock() - started) / images * 1e3

    def _one(self) -> int:
        (ids,) = self._maker.plan.batches(self._step, self._step + 1)
        self._step += 1
        if self._crops:
            return len(self._maker.make(self._step - 1, ids).sample_ids)
        return sum(isinstance(sample, bytes) for sample in read_samples(self._maker.manifest, ids))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, help="folder of images (default: photos of scikit-learn, 1,024 files)")
    parser.add_argument("--latency", type=float, default=0.03, help="of a request, in seconds (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each turn (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender (default %(default)s)")
    arguments = parser.parse_args()
    arguments.storage = "s3"
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="s3_reads") as temporary, images(Path(temporary), arguments) as places:
        print(json.dumps(compared(places, arguments)))


def compared(places: dict[str, str], arguments: argparse.Namespace) -> dict[str, Any]:
    near = os.environ["AWS_ENDPOINT_URL"]
    context = multiprocessing.get_context("spawn")
    port: Any = context.SimpleQueue()
    line = context.Process(
        target=serve_slowly, args=(int(near.rpartition(":")[2]), arguments.latency, port), daemon=True
    )
    line.start()
    far = f"http://127.0.0.1:{port.get()}"
    makers = {}
    for name, uri in places.items():
        found = manifests.build(uri)
        plan = SamplePlan(found.train_ids(), 0, BATCH)
        makers[name] = BatchMaker(found, plan, MultiCrop(CropsConfig(), AugmentConfig(), 0))
    local, s3 = makers["local"], makers["s3"]
    through_boto3 = mock.patch.object(s3_address, "_forked", True)
    contenders = {
        "read": Contender(s3, near, crops=False),
        "read_boto3": Contender(s3, near, crops=False, patch=through_boto3),
        "crop_local": Contender(local),
        "crop_s3": Contender(s3, near),
        "crop_far": Contender(s3, far),
        "crop_far_read_first": Contender(s3, far, patch=mock.patch.object(batches, "read_samples", read_first)),
    }
    rounds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(arguments.rounds):
        for name, contender in contenders.items():
            rounds[name].append(contender.round(arguments.seconds))
            print(f"{name}: {rounds[name][-1]:.2f} ms/image", file=sys.stderr)
    line.kill()

    def ratio(name: str, beside: str) -> float:
        """Median over the rounds, since within one of them the machine is the same."""
        pairs = zip(rounds[name], rounds[beside], strict=True)
        return round(statistics.median(one / other for one, other in pairs), 3)

    return {
        "benchmark": "s3_reads",
        "latency_s": arguments.latency,
        "cpu_ms_per_read": {name: round(statistics.median(rounds[name]), 3) for name in ("read", "read_boto3")},
        "ms_per_image": {name: round(statistics.median(rounds[name]), 2) for name in rounds if "crop" in name},
        "boto3_by_read": ratio("read_boto3", "read"),
        "far_read_first_by_far": ratio("crop_far_read_first", "crop_far"),
        "far_by_local": ratio("crop_far", "crop_local"),
    }


if __name__ == "__main__":
    main()
