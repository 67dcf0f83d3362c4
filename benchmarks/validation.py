"""A training step while kNN is measured beside it, and while nothing is.

    python -m benchmarks.validation [--epochs N]

Trains the quickstart's network on its images with one thread, as a worker of a run does, and has it measured every
three epochs by Ray tasks of one CPU. Prints one JSON line:

- step_seconds_beside, step_seconds_alone: median seconds of a step, from one batch to the next, while a task is under
  way (its process starts, reads the checkpoint, measures) and while none is, in the same run; ratio: of the two.
- cpu_ratio: the same of the CPU time of the training thread, which has no waits in it: above 1, the task costs training
  cache, memory bandwidth or clock speed; a `ratio` above it is the CPU that others took from the training thread.
- task_seconds: median seconds of a task, from its start to its figures.
- held_seconds: how long training waits for a measurement if the worker makes it, median, in a second run.
- same: whether both runs have the same lines in measurements.jsonl and the same losses, bit for bit.

The batches of one epoch are made beforehand and used again, so that a core is spare on a machine with two. In a real
run on such a machine that core makes crops, which is why `eval.beside_training = auto` measures in the worker there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace as with_fields
from pathlib import Path
from typing import Any, NamedTuple

import ray

from benchmarks.parts.in_process_run import Coordinator
from swav_ray import worker
from swav_ray.config import Config, replace
from swav_ray.data import manifest as manifests
from swav_ray.data.batch import Batch
from swav_ray.data.batches import BatchMaker
from swav_ray.data.shapes import write_shapes
from swav_ray.launch.measure_task import beside_training
from swav_ray.measuring.beside import Start, Task
from swav_ray.recipes import quickstart
from swav_ray.run import measurements
from swav_ray.run.layout import MANIFEST
from swav_ray.run.measurements import Figures
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import Place, place
from swav_ray.training.distributed import World

EVERY = 3  # epochs
Span = tuple[float, float]


class Step(NamedTuple):
    """Seconds of a step, and CPU seconds of the thread that trains."""

    seconds: float
    cpu: float


class Feed:
    """The batches of an epoch again and again; notes when each was taken, by the clock and by the thread's CPU time."""

    def __init__(self, batches: list[Batch], start: int) -> None:
        self._batches, self._step = batches, start
        self.taken: list[tuple[float, float]] = []

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        self.taken.append((time.perf_counter(), time.thread_time()))
        batch = with_fields(self._batches[self._step % len(self._batches)], step=self._step)
        self._step += 1
        return batch

    def ready(self, seconds: float) -> bool:  # noqa: ARG002
        return True

    def usage(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        pass


class Timed:
    """A task that notes from when to when it was under way."""

    def __init__(self, task: Task, spans: list[Span]) -> None:
        self._task, self._spans, self._began = task, spans, time.perf_counter()

    def poll(self) -> Figures | None:
        found = self._task.poll()
        if found is not None:
            self._spans.append((self._began, time.perf_counter()))
        return found

    def cancel(self) -> None:
        self._task.cancel()
        self._spans.append((self._began, time.perf_counter()))


class Alone(Coordinator):
    """One worker in this process, fed with the same batches again, that may be measured by Ray tasks."""

    def __init__(self, config: Config, run_dir: Place, batches: list[Batch]) -> None:
        super().__init__()
        self._config, self._run_dir, self._batches = config, run_dir, batches
        self.fed: Feed | None = None
        self.spans: list[Span] = []

    def feed(self, maker: BatchMaker, world: World, start: int, end: int) -> Feed:  # type: ignore[override]  # noqa: ARG002
        if not self._batches:
            self._batches += [maker.make(step, ids) for step, ids in enumerate(maker.plan.batches(0, _an_epoch(maker)))]
        self.fed = Feed(self._batches, start)
        return self.fed

    def beside_training(self, workers: int) -> Start | None:
        start = beside_training(self._config, self._run_dir, workers, gpu=False)
        return None if start is None else lambda step: Timed(start(step), self.spans)


def _an_epoch(maker: BatchMaker) -> int:
    return maker.plan.steps_per_epoch


def steps(coordinator: Alone) -> tuple[list[Step], list[Step]]:
    """Steps while a task was under way, and while none was; those in which one began or ended are in neither."""
    assert coordinator.fed is not None
    beside, alone = [], []
    for (began, cpu_before), (ended, cpu_after) in itertools.pairwise(coordinator.fed.taken[1:]):  # the first warms up
        step = Step(ended - began, cpu_after - cpu_before)
        if any(first <= began and ended <= last for first, last in coordinator.spans):
            beside.append(step)
        elif all(last <= began or ended <= first for first, last in coordinator.spans):
            alone.append(step)
    return beside, alone


def train(folder: Path, how: str, epochs: int, batches: list[Batch]) -> tuple[Alone, Place]:
    """A run, measured beside training (`always`) or by its worker (`never`)."""
    run_dir = place(folder / how)
    config = replace(quickstart(), train={"epochs": epochs}, eval={"knn_every_epochs": EVERY, "beside_training": how})
    manifests.save(manifests.build(str(folder / "shapes")), run_dir / MANIFEST)
    coordinator = Alone(config, run_dir, batches)
    worker.run(config, run_dir, coordinator)
    return coordinator, run_dir


def outcome(run_dir: Place) -> tuple[list[dict[str, Any]], list[float | None]]:
    """What was measured, and the losses."""
    return measurements.read(run_dir), [record["loss"] for record in read_metrics(run_dir)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=24)
    options = parser.parse_args()
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    with tempfile.TemporaryDirectory() as name:
        folder, batches = Path(name), []  # type: ignore[var-annotated]
        write_shapes(place(folder / "shapes"), train=6000, test=1000, size=48, seed=0, rows_per_shard=1024)
        beside, beside_dir = train(folder, "always", options.epochs, batches)
        _, inside_dir = train(folder, "never", options.epochs, batches)
        under_way, alone = steps(beside)
        held = [record["evaluate_seconds"] for record in read_metrics(inside_dir)]
        # A record has the time since the record before, so that of a measurement is in the step after it.
        held = sorted(held)[-(options.epochs // EVERY - 1) :]
        with_task, without = (Step(*map(statistics.median, zip(*found, strict=True))) for found in (under_way, alone))
        result = {
            "benchmark": "validation",
            "step_seconds_beside": round(with_task.seconds, 4),
            "step_seconds_alone": round(without.seconds, 4),
            "ratio": round(with_task.seconds / without.seconds, 3),
            "cpu_ratio": round(with_task.cpu / without.cpu, 3),
            "steps": [len(under_way), len(alone)],
            "tasks": len(beside.spans),
            "task_seconds": round(statistics.median(last - first for first, last in beside.spans), 2),
            "held_seconds": round(statistics.median(held), 2),
            "same": outcome(beside_dir) == outcome(inside_dir),
        }
    ray.shutdown()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
