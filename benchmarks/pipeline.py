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
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import ray
import torch
from ray.data._internal.execution.execution_callback import ExecutionCallback
from torch.utils.data import DataLoader, Dataset

from benchmarks.multi_crop import jpeg, pil_pipeline, sample_photos
from benchmarks.parts.s3_server import S3Server
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

STEPS = 1_000_000  # more than any round reads


class Photos(Dataset):
    """The files of a folder through the published augmentation: 8 float tensors an image."""

    def __init__(self, files: list[Path]) -> None:
        self._files, self._pipeline = files, pil_pipeline(CropsConfig(), to_tensor=True)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> object:
        return self._pipeline(self._files[index].read_bytes(), index)


class Endless(torch.utils.data.Sampler):
    def __init__(self, count: int) -> None:
        self._count = count

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from torch.randperm(self._count).tolist()


class Machine:
    """What this process and its children use, seen from outside."""

    def __init__(self) -> None:
        self.peak_object_store = 0.0
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._closed.wait(0.25):
            if ray.is_initialized():
                with contextlib.suppress(Exception):
                    self.peak_object_store = max(self.peak_object_store, object_store_bytes())

    @staticmethod
    def cpu_seconds() -> dict[int, float]:
        """Of each process, but the S3 server's: a real one is elsewhere."""
        seconds = {}
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                if process.name() == "weed":
                    continue
                used = process.cpu_times()
                seconds[process.pid] = used.user + used.system
        return seconds

    @staticmethod
    def memory() -> int:
        """Bytes that only these processes hold: shared memory, as the object store's, is not in it."""
        total = 0
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                # A map of the object store that only one process has would else count as its own.
                maps = [found for found in process.memory_maps() if not found.path.startswith("/dev/shm")]
                total += sum(found.private_clean + found.private_dirty for found in maps)
        return total

    def close(self) -> None:
        self._closed.set()


def object_store_bytes() -> float:
    name = "object_store_memory"
    return ray.cluster_resources().get(name, 0.0) - ray.available_resources().get(name, 0.0)


def measured(step: Callable[[], int], seconds: float) -> tuple[float, float]:
    """Images per second by the clock and per CPU second; `step` gives the images that it took or made."""
    before, started, images = Machine.cpu_seconds(), time.perf_counter(), 0
    while (wall := time.perf_counter() - started) < seconds:
        images += step()
    used = sum(value - before.get(pid, 0.0) for pid, value in Machine.cpu_seconds().items())
    return images / wall, images / used


class InProcess:
    def __init__(self, maker: BatchMaker) -> None:
        self._maker, self._step = maker, 0

    def round(self, seconds: float) -> tuple[float, float]:
        return measured(self._make, seconds)

    def _make(self) -> int:
        (ids,) = self._maker.plan.batches(self._step, self._step + 1)
        self._step += 1
        return len(self._maker.make(self._step - 1, ids).sample_ids)


class Processes:
    """A process a core, each making other batches of the plan; nothing passes between them but a count of images."""

    def __init__(self, maker: BatchMaker, cpus: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._go = context.Event()
        self._made = [context.Value("q", 0) for _ in range(cpus)]
        for index, made in enumerate(self._made):
            arguments = (maker, index, cpus, made, self._go)
            context.Process(target=_make_batches, args=arguments, daemon=True).start()

    def round(self, seconds: float) -> tuple[float, float]:
        self._go.set()
        last = self._total()
        while any(made.value == before for made, before in zip(self._made, last, strict=True)):
            time.sleep(0.01)
        last = self._total()

        def step() -> int:
            nonlocal last
            time.sleep(0.01)
            before, last = last, self._total()
            return sum(last) - sum(before)

        figures = measured(step, seconds)
        self._go.clear()
        while self._total() != last:  # those that were being made
            last = self._total()
            time.sleep(2.0)
        return figures

    def _total(self) -> list[int]:
        return [made.value for made in self._made]


def _make_batches(maker: BatchMaker, index: int, cpus: int, made: Any, go: Any) -> None:
    torch.set_num_threads(1)
    for step in range(index, STEPS, cpus):
        go.wait()
        (ids,) = maker.plan.batches(step, step + 1)
        made.value += len(maker.make(step, ids).sample_ids)


class Ray:
    """A new feed each round, so that no round starts with what was made between the rounds."""

    def __init__(self, maker: BatchMaker, cpus: int) -> None:
        self._maker, self._cpus = maker, cpus
        self.first_batch: list[float] = []
        self.memory: list[tuple[int, int]] = []  # at the start and at the end of each turn

    def round(self, seconds: float) -> tuple[float, float]:
        started = time.perf_counter()
        feed = Feed(self._maker, World(), 0, STEPS)
        next(feed)
        self.first_batch.append(time.perf_counter() - started)
        for _ in range(4 * self._cpus + 2):  # past those that the start of the feed delayed
            next(feed)
        before = Machine.memory()
        figures = measured(lambda: len(next(feed).sample_ids), seconds)
        self.memory.append((before, Machine.memory()))
        feed.close()
        wait_until_idle()
        return figures


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


def wait_until_idle() -> None:
    end = time.monotonic() + 30
    while ray.available_resources().get("CPU", 0) < ray.cluster_resources()["CPU"] and time.monotonic() < end:
        time.sleep(0.1)


class Torch:
    """Small batches, whose size its rate does not depend on, since at its rate a large one takes seconds."""

    def __init__(self, files: list[Path], cpus: int) -> None:
        self._options: dict[str, Any] = {"batch_size": 16, "num_workers": cpus, "sampler": Endless(len(files))}
        self._files, self._cpus = files, cpus

    def round(self, seconds: float) -> tuple[float, float]:
        batches = iter(DataLoader(Photos(self._files), **self._options))
        for _ in range(3 * self._cpus):  # past what is prefetched
            next(batches)
        return measured(lambda: len(next(batches)[0]), seconds)


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
    makers = {}
    for name, uri in places.items():
        found = manifests.build(uri)
        plan = SamplePlan(found.train_ids(), 0, arguments.batch)
        makers[name] = BatchMaker(found, plan, MultiCrop(CropsConfig(), AugmentConfig(), 0))
    alone = InProcess(makers["local"])
    alone.round(0.1)  # compiles
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    # Ray's tasks run at niceness 15. Where anything else runs, that would compare niceness, not pipelines.
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.update(METADATA_INLINE)  # as in a run
    ray.init(address="local", num_cpus=arguments.cpus, **options)
    machine = Machine()
    contenders: dict[str, Any] = {
        "in_process": alone,
        "processes": Processes(makers["local"], arguments.cpus),
    }
    contenders |= {f"ray_{name}": Ray(maker, arguments.cpus) for name, maker in makers.items()}
    if not arguments.skip_torch:
        files = sorted(file for file in Path(places["local"]).rglob("*") if file.is_file())
        contenders["torch"] = Torch(files, arguments.cpus)
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(arguments.rounds):
        for name, contender in contenders.items():
            rounds[name].append(contender.round(arguments.seconds))
            print(f"{name}: {rounds[name][-1][0]:.0f} images/s", file=sys.stderr)
    waiting = {
        "rate_limited": cores_while_waiting(makers["local"], arguments.seconds, data.RateLimitedLoop),
        "ray_data": cores_while_waiting(makers["local"], arguments.seconds, ExecutionCallback),
    }
    machine.close()
    clock = {name: statistics.median(wall for wall, _ in turns) for name, turns in rounds.items()}
    cpu = {name: statistics.median(used for _, used in turns) for name, turns in rounds.items()}

    def ratio(name: str, beside: str, which: int) -> float:
        """Median over the rounds, since within one of them the machine is the same."""
        pairs = zip(rounds[name], rounds[beside], strict=True)
        return statistics.median(one[which] / other[which] for one, other in pairs)

    result = {
        "benchmark": "pipeline",
        "crops": "2x224+6x96",
        "cpus": arguments.cpus,
        "batch": arguments.batch,
        "images_per_second": {name: round(value, 1) for name, value in clock.items()},
        "images_per_cpu_second": {name: round(value, 1) for name, value in cpu.items()},
        "ray_by_cores_x_in_process": round(ratio("ray_local", "in_process", 0) / arguments.cpus, 3),
        "processes_by_cores_x_in_process": round(ratio("processes", "in_process", 0) / arguments.cpus, 3),
        "ray_by_processes": round(ratio("ray_local", "processes", 0), 3),
        "ray_by_in_process_cpu_time": round(ratio("ray_local", "in_process", 1), 3),
        "cores_while_training_waits": {name: round(cores, 2) for name, cores in waiting.items()},
        "first_batch_s": {"new_cluster": round(contenders["ray_local"].first_batch[0], 2)},
        "object_store_peak_mb": round(machine.peak_object_store / 1e6),
        "object_store_capacity_mb": round(ray.cluster_resources()["object_store_memory"] / 1e6),
        "memory_mb_from_to": [[round(value / 1e6) for value in turn] for turn in contenders["ray_local"].memory],
        "load_average": round(os.getloadavg()[0], 1),
    }
    if len(contenders["ray_local"].first_batch) > 1:
        result["first_batch_s"]["new_workers"] = round(statistics.median(contenders["ray_local"].first_batch[1:]), 2)
    if "torch" in clock:
        result["ray_by_torch"] = round(ratio("ray_local", "torch", 0), 2)
    if "ray_s3" in clock:
        result["s3_by_local"] = round(ratio("ray_s3", "ray_local", 0), 3)
        result["s3_by_local_cpu_time"] = round(ratio("ray_s3", "ray_local", 1), 3)
    ray.shutdown()
    return result


if __name__ == "__main__":
    main()
