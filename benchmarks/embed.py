"""Embeddings of a folder of JPEGs: images per second of `python -m swav_ray.embed`'s parts beside two yardsticks.

    python -m benchmarks.embed [--images N] [--size S] [--model resnet18] [--width W]
    python -m benchmarks.embed --memory 10000 100000 [--side 8]

Prints one JSON line. The yardsticks, in the same run and on the same files: the loop that everybody writes (a Dataset
with PIL and torchvision, a DataLoader with a worker a CPU, the same network), and the sum of what as many processes as
CPUs do with the same parts without Ray. `cpu_ms` is the CPU time of an image, all processes counted: other programs on
the machine change it little. `--repeats N` takes all of it N times in turns and gives medians.

`--memory` instead embeds sets of tiny images, of so many rows each, and prints the most memory that the driver, any
task and the whole process tree had (proportional set size, MB).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from benchmarks.features import make_backbone, plain_loop, write_images
from benchmarks.parts.cpu_time import Clock, Cost
from swav_ray.data.manifest import cache_of
from swav_ray.embed import output as outputs
from swav_ray.embed.network import Network, heads_for
from swav_ray.embed.output import How, Output
from swav_ray.embed.work import EmbedPart
from swav_ray.features.making import make_parts
from swav_ray.storage.place import place
from swav_ray.weights.backbone import Backbone


def prepare(folder: Path, backbone: Backbone, name: str) -> tuple[Output, Network]:
    """An empty output, its list of images made."""
    heads = heads_for(backbone.origin.parts, "weights", layer="pooled", every=False)
    network = Network(backbone, heads, "pooled", 0.1)
    how = How(
        checkpoint=backbone.origin.place,
        weights=backbone.origin.sha256,
        prefix="",
        layer="pooled",
        shape=network.shape(),
        dtype="float16",
        image_size=backbone.preprocess.image_size,
        mean=backbone.preprocess.mean,
        std=backbone.preprocess.std,
        prototypes=tuple(len(head.prototypes) for head in heads),
        temperature=0.1,
        soft=False,
    )
    images, cache = str(folder / "images"), cache_of(str(folder / "storage"))
    return outputs.begin(place(folder / name), how, images, cache)[0], network


def in_process(output: Output, network: Network, parts: list[int], ready: Any, rates: Any) -> None:
    """One of as many processes as CPUs: its parts, timed from when all of them are ready."""
    torch.set_num_threads(1)
    work = EmbedPart(output, network)
    warm = parts[:1]
    list(make_parts(work, warm, torch.device("cpu")))
    ready.wait()
    began, cpu = time.perf_counter(), time.process_time()
    images = sum(make_parts(work, parts[1:], torch.device("cpu")))
    rates.put(Cost(images / (time.perf_counter() - began), 1e3 * (time.process_time() - cpu) / images))


def sum_of_processes(folder: Path, backbone: Backbone, cpus: int, name: str) -> Cost:
    output, network = prepare(folder, backbone, name)
    context = multiprocessing.get_context("spawn")
    ready, rates = context.Barrier(cpus), context.Queue()
    parts = output.missing()
    if len(parts) < 2 * cpus:  # each process has one to start with and one that is timed
        least = (2 * cpus - 1) * output.how.part_rows + 1
        raise SystemExit(f"embed: --images: too few for {cpus} processes; give at least {least:,}")
    processes = [
        context.Process(target=in_process, args=(output, network, parts[i::cpus], ready, rates)) for i in range(cpus)
    ]
    for process in processes:
        process.start()
    costs = [rates.get() for _ in processes]
    for process in processes:
        process.join()
    return Cost(sum(cost.rate for cost in costs), statistics.mean(cost.cpu_ms for cost in costs))


def on_ray(folder: Path, backbone: Backbone, cpus: int, name: str) -> tuple[Cost, float]:
    """What images cost once a part a CPU is made, and the seconds until then."""
    import ray

    from swav_ray.launch.connect import connect
    from swav_ray.launch.parts import make

    output, network = prepare(folder, backbone, name)
    connect(logs=False)
    work, parts = EmbedPart(output, network), output.missing()
    began = time.perf_counter()
    make(work, parts[:cpus], lambda _: None)  # workers start once, whatever the number of images
    started, clock = time.perf_counter(), Clock()
    make(work, parts[cpus:], lambda _: None)
    cost = clock.cost(sum(work.images(part) for part in parts[cpus:]))
    ray.shutdown()
    return cost, started - began


def speed(options: argparse.Namespace) -> dict[str, Any]:
    cpus = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_images(folder / "images", options.images, round(1.5 * options.size))
        backbone = make_backbone(folder, options.model, options.width, options.size)
        files = sorted(map(str, (folder / "images").rglob("*.jpg")))
        costs = defaultdict[str, list[Cost]](list)
        for repeat in range(options.repeats):
            # Whichever is faster: with torch's usual threads, network and workers fight for the cores.
            loops = [plain_loop(backbone, files, cpus, threads)[0] for threads in (1, cpus)]
            costs["dataloader"].append(max(loops, key=lambda cost: cost.rate))
            costs["sum of processes"].append(sum_of_processes(folder, backbone, cpus, f"in-process-{repeat}"))
            cost, start = on_ray(folder, backbone, cpus, f"ray-{repeat}")
            costs["swav_ray"].append(cost)
    rates = {name: statistics.median(cost.rate for cost in found) for name, found in costs.items()}
    cpu = {name: statistics.median(cost.cpu_ms for cost in found) for name, found in costs.items()}
    return {
        "images": options.images,
        "size": options.size,
        "model": f"{options.model}-w{options.width:g}",
        "cpus": cpus,
        "repeats": options.repeats,
        "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "to_dataloader": round(rates["swav_ray"] / rates["dataloader"], 2),
        "to_sum": round(rates["swav_ray"] / rates["sum of processes"], 2),
        "cpu_ms": {name: round(cost, 2) for name, cost in cpu.items()},
        "start_s": round(start, 1),
    }


def write_tiny(folder: Path, images: int, side: int) -> None:
    """An IDX file of random pixels."""
    folder.mkdir(parents=True)
    with (folder / "train-images-idx3-ubyte").open("wb") as file:
        file.write(bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (images, side, side)))
        generator = np.random.default_rng(0)
        for start in range(0, images, 100_000):
            file.write(generator.integers(0, 256, (min(100_000, images - start), side, side), np.uint8).tobytes())


def memory(images: int, side: int) -> dict[str, Any]:
    """Most memory of one embedding of so many tiny images, as the command does it."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_tiny(folder / "images", images, side)
        make_backbone(folder, "resnet18", 0.125, 8)
        words = ["--checkpoint", folder / "weights.pth", "--data", folder / "images", folder / "out"]
        words += ["--image-size", 8, "--storage", folder / "storage"]
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "swav_ray.embed", *map(str, words)], stdout=subprocess.DEVNULL
        )
        most = watch(process)
        if process.returncode:
            raise SystemExit(f"the command ended with {process.returncode}")
        return {"images": images, **most, "seconds": round(time.perf_counter() - began, 1)}


def memories(options: argparse.Namespace) -> dict[str, Any]:
    return {"memory_mb": [memory(rows, options.side) for rows in options.memory]}


def watch(process: subprocess.Popen[bytes]) -> dict[str, int]:
    """The most memory, in MB, of the driver, of any of Ray's workers, and of all processes together."""
    most = {"driver": 0, "worker": 0, "all": 0}
    root = psutil.Process(process.pid)
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.5):
            try:
                driver = root.memory_full_info().pss >> 20
                children = {one: one.memory_full_info().pss >> 20 for one in root.children(recursive=True)}
                workers = [size for one, size in children.items() if "ray::" in " ".join(one.cmdline())]
            except psutil.Error:
                continue
            most["driver"] = max(most["driver"], driver)
            most["worker"] = max([most["worker"], *workers])
            most["all"] = max(most["all"], driver + sum(children.values()))

    thread = threading.Thread(target=look)
    thread.start()
    process.wait()
    done.set()
    thread.join()
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=64, help="side of what is embedded, in pixels")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--memory", type=int, nargs="+", default=[], metavar="ROWS")
    parser.add_argument("--side", type=int, default=8, help="of the tiny images of --memory")
    options = parser.parse_args()
    figures = memories(options) if options.memory else speed(options)
    print(json.dumps({"benchmark": "embed", **figures}))


if __name__ == "__main__":
    main()
