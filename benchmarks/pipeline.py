"""The whole data plane: crops made by Ray tasks and read by one consumer, beside what the same cores could do at most.

    python -m benchmarks.pipeline [--images DIR] [--storage local|s3] [--seconds S] [--rounds N] [--cpus N]

Prints one JSON line. The contenders take turns in one run:

- in_process: `BatchMaker` in this process, images per second of one core; the goal is 0.85 x cores x this.
- processes: the same in a process a core, all at once and without Ray, each throwing its batches away: what the machine
  makes of its cores, which share caches, memory and often more.
- ray: the same batches through `Feed`, as a training worker reads them that does nothing else.
- torch: torch's DataLoader with the paper's PIL pipeline, a worker a core.

Rates are by the clock. On a machine that does other work too the clock measures that as well, so the CPU time that all
processes of a contender took (Ray's own included) is given beside it, in images per CPU second.

Where training is the slower side crops wait for it, and what the data plane then costs is cores_while_training_waits:
with a feed that nobody reads, as it is and with Ray Data's scheduling loop left to itself.

With --storage s3 the images lie in a SeaweedFS that the benchmark starts, and the local rate is measured beside it. The
server works on the same cores, so by the clock its own work counts against ours; CPU seconds are without it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
import torch
from ray.data._internal.execution.execution_callback import ExecutionCallback

from benchmarks.multi_crop import jpeg, sample_photos
from benchmarks.parts.s3_server import S3Server
from benchmarks.pipeline_parts.contenders import STEPS, InProcess, Processes, Ray, Torch
from benchmarks.pipeline_parts.machine import Machine, object_store_bytes, wait_until_idle
from swav_ray.config import AugmentConfig, CropsConfig
from swav_ray.data import manifest as manifests
from swav_ray.data.batches import BatchMaker
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.launch import feed as data
from swav_ray.launch.feed import Feed
from swav_ray.launch.ray_internals.environment import METADATA_INLINE
from swav_ray.storage.place import place
from swav_ray.training.distributed import World

Rounds = dict[str, list[tuple[float, float]]]  # of each contender's turns: images/s by the clock, and per CPU second


def cores_while_waiting(maker: BatchMaker, seconds: float, pace: type[ExecutionCallback]) -> float:
    """CPU seconds a second of all processes, once as much is prefetched as may be."""
    ours, data.RateLimitedLoop = data.RateLimitedLoop, pace
    feed = Feed(maker, World(), 0, STEPS)
    data.RateLimitedLoop = ours
    next(feed)
    last, since = -1.0, time.monotonic()
    while time.monotonic() - since < 5:  # until the object store has not changed for so long
        if object_store_bytes() != last:
            last, since = object_store_bytes(), time.monotonic()
        time.sleep(0.5)
    before = Machine.cpu_seconds()
    time.sleep(seconds)
    used = sum(value - before.get(pid, 0.0) for pid, value in Machine.cpu_seconds().items())
    feed.close()
    wait_until_idle()
    return used / seconds


@contextlib.contextmanager
def images(folder: Path, arguments: argparse.Namespace) -> Iterator[dict[str, str]]:
    """The places of the images, local and, if asked for, on S3."""
    if arguments.images:
        local = arguments.images
    else:
        local = folder / "photos"
        local.mkdir()
        photos = [jpeg(photo, (500, 375), 66_000) for photo in sample_photos()]
        for index in range(1024):
            (local / f"{index:04d}.jpg").write_bytes(photos[index % len(photos)])
    places = {"local": str(local)}
    if arguments.storage == "local":
        yield places
        return
    server = S3Server(folder / "weed")
    server.start()
    try:
        os.environ.update(server.environment)
        target = place(server.make_bucket("photos"))
        for file in sorted(Path(local).rglob("*")):
            if file.is_file():
                (target / str(file.relative_to(local))).write_bytes(file.read_bytes())
        yield {**places, "s3": target.uri}
    finally:
        server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, help="folder of images (default: photos of scikit-learn, 1,024 files)")
    parser.add_argument("--storage", choices=("local", "s3"), default="local")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each turn (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each contender (default %(default)s)")
    parser.add_argument("--cpus", type=int, default=os.cpu_count() or 1, help="cores that make crops (default: all)")
    parser.add_argument("--batch", type=int, default=128, help="images a batch (default %(default)s)")
    parser.add_argument("--skip-torch", action="store_true", help="without the DataLoader")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # Ray has processes beside the crop tasks: with more cores than are counted it would be flattered.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cpus])
    with tempfile.TemporaryDirectory(prefix="pipeline") as temporary, images(Path(temporary), arguments) as places:
        print(json.dumps(compared(places, arguments)))


def compared(places: dict[str, str], arguments: argparse.Namespace) -> dict[str, Any]:
    makers = {name: maker_of(uri, arguments.batch) for name, uri in places.items()}
    alone = InProcess(makers["local"])
    alone.round(0.1)  # compiles
    start_ray(arguments.cpus)
    machine = Machine()
    contenders: dict[str, Any] = {"in_process": alone, "processes": Processes(makers["local"], arguments.cpus)}
    contenders |= {f"ray_{name}": Ray(maker, arguments.cpus) for name, maker in makers.items()}
    if not arguments.skip_torch:
        files = sorted(file for file in Path(places["local"]).rglob("*") if file.is_file())
        contenders["torch"] = Torch(files, arguments.cpus)
    rounds: Rounds = {name: [] for name in contenders}
    for _ in range(arguments.rounds):
        for name, contender in contenders.items():
            rounds[name].append(contender.round(arguments.seconds))
            print(f"{name}: {rounds[name][-1][0]:.0f} images/s", file=sys.stderr)
    waiting = {
        "rate_limited": cores_while_waiting(makers["local"], arguments.seconds, data.RateLimitedLoop),
        "ray_data": cores_while_waiting(makers["local"], arguments.seconds, ExecutionCallback),
    }
    machine.close()
    first = contenders["ray_local"].first_batch
    result = {"benchmark": "pipeline", "crops": "2x224+6x96", "cpus": arguments.cpus, "batch": arguments.batch}
    result |= rates(rounds, arguments.cpus)
    result |= {
        "cores_while_training_waits": {name: round(cores, 2) for name, cores in waiting.items()},
        "first_batch_s": {"new_cluster": round(first[0], 2)}
        | ({"new_workers": round(statistics.median(first[1:]), 2)} if len(first) > 1 else {}),
        "object_store_peak_mb": round(machine.peak_object_store / 1e6),
        "object_store_capacity_mb": round(ray.cluster_resources()["object_store_memory"] / 1e6),
        "memory_mb_from_to": [[round(value / 1e6) for value in turn] for turn in contenders["ray_local"].memory],
        "load_average": round(os.getloadavg()[0], 1),
    }
    ray.shutdown()
    return result


def maker_of(uri: str, batch: int) -> BatchMaker:
    """The paper's crops of the images at a place."""
    found = manifests.build(uri)
    return BatchMaker(found, SamplePlan(found.train_ids(), 0, batch), MultiCrop(CropsConfig(), AugmentConfig(), 0))


def start_ray(cpus: int) -> None:
    """Ray on this machine, as a run has it."""
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    # Ray's tasks run at niceness 15. Beside anything else that would compare niceness, not pipelines.
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.update(METADATA_INLINE)
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")


def rates(rounds: Rounds, cpus: int) -> dict[str, Any]:
    """Each contender's rates, the median of its turns, and the ratios between contenders."""

    def ratio(name: str, beside: str, which: int) -> float:
        """Median over the rounds, since within one of them the machine is the same."""
        pairs = zip(rounds[name], rounds[beside], strict=True)
        return statistics.median(one[which] / other[which] for one, other in pairs)

    found: dict[str, Any] = {
        key: {name: round(statistics.median(turn[which] for turn in turns), 1) for name, turns in rounds.items()}
        for which, key in enumerate(("images_per_second", "images_per_cpu_second"))
    }
    found |= {
        "ray_by_cores_x_in_process": round(ratio("ray_local", "in_process", 0) / cpus, 3),
        "processes_by_cores_x_in_process": round(ratio("processes", "in_process", 0) / cpus, 3),
        "ray_by_processes": round(ratio("ray_local", "processes", 0), 3),
        "ray_by_in_process_cpu_time": round(ratio("ray_local", "in_process", 1), 3),
    }
    if "torch" in rounds:
        found["ray_by_torch"] = round(ratio("ray_local", "torch", 0), 2)
    if "ray_s3" in rounds:
        found["s3_by_local"] = round(ratio("ray_s3", "ray_local", 0), 3)
        found["s3_by_local_cpu_time"] = round(ratio("ray_s3", "ray_local", 1), 3)
    return found


if __name__ == "__main__":
    main()
