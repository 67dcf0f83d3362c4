"""Disturbs a real training run and checks that nothing of it was lost.

    python benchmarks/chaos.py --seed S --events N [--workers MIN MAX] [--storage PLACE]

A Ray cluster of several nodes on this machine, a small training run on it, and a schedule drawn from the seed: killed
workers, lost nodes, joining nodes, drains with a deadline, killed controllers, the whole job killed and started again,
storage outages and truncated checkpoints (`benchmarks/chaos_parts/schedule.py`). The images lie on S3, behind a gate
that makes the outages; run directories on S3 too or in a local folder, as the seed draws or `--storage` says. Without
AWS_ENDPOINT_URL an S3 server (SeaweedFS) is started here.

The run is compared with the same run undisturbed. Prints one JSON line; `seconds_lost` are, for each event of a kind,
the longest time without a new step from then to the next event, less what the undisturbed run takes for a step.
Exits 0 only if every event took place, no sample was lost or repeated, the job never ended by itself except where its
controller was killed, and losses and weights are those of the undisturbed run: bit for bit at a constant number of
workers, within 1e-4 (relative, losses) where it varies.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
import urllib.parse
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.chaos_parts.cluster import Cluster, is_chief, thread_limits  # noqa: E402
from benchmarks.chaos_parts.compare import judge  # noqa: E402
from benchmarks.chaos_parts.job import COMMAND, Job, Progress  # noqa: E402
from benchmarks.chaos_parts.schedule import KINDS, Event, Nodes, draw  # noqa: E402
from benchmarks.chaos_parts.storage import Gate  # noqa: E402
from swav_ray.config import Config, replace  # noqa: E402
from swav_ray.data import manifest as manifests  # noqa: E402
from swav_ray.data.sample_plan import SamplePlan  # noqa: E402
from swav_ray.data.shapes import write_shapes  # noqa: E402
from swav_ray.data.storage import Place, place  # noqa: E402
from swav_ray.evaluate.probe import split  # noqa: E402
from swav_ray.recipes import quickstart  # noqa: E402
from swav_ray.training import checkpoint  # noqa: E402
from tests.s3 import S3Server  # noqa: E402

BATCH, STEPS_PER_EPOCH = 8, 20
TOLERANCE = 1e-4  # relative, on losses, where the number of workers varies
PATIENCE = 600.0  # seconds without a step, an event or a start after which a run counts as stuck
MOST_UNEXPECTED_EXITS = 3
ELASTIC_CPUS = 2.0  # of an elastic run's worker
POLL = 0.02  # seconds


@dataclass(frozen=True)
class Storage:
    """Where things lie: images, run directories (one place of `runs`, by seed), and the gate before the S3 server."""

    images: str
    runs: tuple[str, ...]
    gate: Gate

    def runs_of(self, seed: int) -> str:
        return self.runs[np.random.default_rng([seed, 0x73746F72]).integers(len(self.runs))]


def job_config(images: str, runs: str, name: str, workers: tuple[int, int], epochs: int) -> Config:
    """A small run: uneven shares at most numbers of workers, a queue, checkpoints within epochs and at their ends.

    At a low rate: worlds of several sizes are compared, and a net this small magnifies rounding from step to step.
    """
    low, high = workers
    return replace(
        quickstart(),
        run={"name": name, "storage": runs, "progress_seconds": 0.05},
        data={"uri": images, "holdout_fraction": 0.0},
        crops={"sizes": (32, 16), "counts": (2, 2), "min_scales": (0.3, 0.1), "max_scales": (1.0, 0.4)},
        model={"width": 0.25, "hidden_dim": 32, "output_dim": 16, "prototypes": (12,)},
        queue={"length": 16, "start_epoch": 1},
        optim={"base_lr": 0.02, "final_lr": 0.0001, "warmup_epochs": 0.5, "freeze_prototypes_steps": 5},
        train={"epochs": epochs, "global_batch_size": BATCH},
        checkpoint={"every_epochs": 0.35, "keep_last": 3},
        scaling={
            "num_workers": (high,) if low == high else (low, high),
            "cpus_per_worker": 1.0 if low == high else ELASTIC_CPUS,
            "check_seconds": 5.0,
        },
        eval={"image_size": 32},
    )


def node_cpus(low: int, high: int) -> int:
    """CPUs of a node: an elastic run finds room for one worker on each, so that nodes and workers come and go together.

    One CPU of each node is left for crops.
    """
    return 2 if low == high else int(ELASTIC_CPUS) + 1


@contextmanager
def storage_for(wanted: str | None, folder: Path) -> Iterator[Storage]:
    """Places for images and runs, with the environment set for everything that is started from here."""
    with ExitStack() as stack:
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        bucket = ""
        if not endpoint:
            server = S3Server(folder / "s3")
            server.start()
            stack.callback(server.kill)
            os.environ.update(server.environment)
            endpoint, bucket = server.endpoint, server.make_bucket("chaos")
        parts = urllib.parse.urlsplit(endpoint)
        gate = Gate(parts.hostname or "127.0.0.1", parts.port or 80)
        stack.callback(gate.close)
        os.environ["AWS_ENDPOINT_URL"] = gate.endpoint
        runs = (wanted,) if wanted else (str(folder / "runs"), f"{bucket}/runs")[: 2 if bucket else 1]
        if bucket and runs[0].startswith("s3://"):
            server.client().create_bucket(Bucket=urllib.parse.urlsplit(runs[0]).netloc)
        images = f"{bucket or runs[0].rstrip('/')}/_images"
        write_shapes(place(images), train=BATCH * STEPS_PER_EPOCH + 3, test=0, size=32, seed=0, rows_per_shard=64)
        yield Storage(images, runs, gate)


@dataclass
class Fired:
    """An event that took place, and when."""

    event: Event
    at: float


@dataclass
class Conductor:
    """Carries out a schedule on a running job, and starts the job again where it ended before its time."""

    job: Job
    cluster: Cluster
    storage: Storage
    run_dir: Place
    progress: Progress
    nodes: Nodes
    schedule: deque[Event]
    fired: list[Fired] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _outage_ends: float = 0.0
    _controller_killed: bool = False
    _unexpected: int = 0

    def run(self) -> None:
        """Until the job is done, stuck, or given up."""
        self.job.start()
        moved = (time.monotonic(), -2, 0, 0)
        while not self.problems:
            self.progress.update()
            self.cluster.tick()
            now = time.monotonic()
            if self._outage_ends and now >= self._outage_ends:
                self.storage.gate.open()
                self._outage_ends = 0.0
                tell("storage is back")
            if self._ended():
                break
            if self.schedule and self.progress.furthest >= self.schedule[0].step and self._possible(self.schedule[0]):
                self._fire(self.schedule.popleft())
            state = (self.progress.step, len(self.fired), self.job.starts)
            if state != moved[1:] or self._outage_ends:
                moved = (now, *state)
            elif now - moved[0] > PATIENCE:
                self.problems.append(f"stuck at step {self.progress.step} for {PATIENCE:.0f} s")
            time.sleep(POLL)
        self.progress.update()
        self.storage.gate.open()
        if self.schedule:
            self.problems.append(f"{len(self.schedule)} events did not take place: {[e.kind for e in self.schedule]}")

    def _ended(self) -> bool:
        """Whether the job is done; starts it again where it is not and should be."""
        status = self.job.poll()
        if status is None:
            return False
        if status == 0 and (self.run_dir / "summary.json").exists():
            return True
        if not self._controller_killed:
            self._unexpected += 1
            tell(f"the job ended with status {status}:\n{self.job.tail()}")
            if self._unexpected >= MOST_UNEXPECTED_EXITS:
                self.problems.append(f"the job ended by itself {self._unexpected} times, last with status {status}")
                return False
        self._controller_killed = False
        tell(f"the job ended with status {status}; starting it again")
        self.job.start()
        return False

    def _possible(self, event: Event) -> bool:
        if event.kind == "kill_worker":
            return bool(self.cluster.training_workers())
        if event.kind == "kill_controller":
            return bool(self.cluster.controllers())
        if event.kind in ("lose_node", "drain_node"):
            return len(self.cluster.nodes()) > self.nodes.least
        if event.kind == "truncate_checkpoint":
            return not self._outage_ends and len(self._sound_checkpoints()) > 1
        return not (event.kind == "storage_outage" and self._outage_ends)

    def _sound_checkpoints(self) -> list[int]:
        sound = []
        for step in checkpoint.steps(self.run_dir):
            try:
                checkpoint.load(self.run_dir, step)
            except checkpoint.BadCheckpoint:
                continue
            sound.append(step)
        return sound

    def _fire(self, event: Event) -> None:
        detail = getattr(self, f"_{event.kind}")(event)
        self.fired.append(Fired(event, time.monotonic()))
        tell(f"{event.kind} at step {self.progress.step} (due at {event.step}): {detail}")

    def _kill_worker(self, event: Event) -> str:
        workers = self.cluster.training_workers()
        chosen = workers[int(event.draw * len(workers))]
        if event.target == "chief":
            chosen = workers[0]
        elif event.target == "worker":
            chosen = workers[-1]
        rank = "rank 0" if is_chief(chosen) else "a worker"
        chosen.kill()
        return f"{rank}, pid {chosen.pid}"

    def _node(self, event: Event) -> Any:
        """The node that an event is aimed at."""
        nodes = self.cluster.nodes()
        by_any = nodes[int(event.draw * len(nodes))]
        if event.target == "any":
            return by_any
        for node in nodes:
            chief = [is_chief(worker) for worker in self.cluster.training_workers(node)]
            if chief and (event.target == "chief") == any(chief):
                return node
        return by_any

    def _lose_node(self, event: Event) -> str:
        node = self._node(event)
        training = len(self.cluster.training_workers(node))
        self.cluster.lose(node)
        return f"{node.node_id[:8]} with {training} training workers"

    def _join_node(self, _: Event) -> str:
        self.cluster.join()
        return f"now {len(self.cluster.nodes())} nodes"

    def _drain_node(self, event: Event) -> str:
        node = self._node(event)
        training = len(self.cluster.training_workers(node))
        self.cluster.drain(node, event.seconds)
        return f"{node.node_id[:8]} with {training} training workers, gone in {event.seconds} s"

    def _kill_controller(self, _: Event) -> str:
        controllers = self.cluster.controllers()
        for process in controllers:
            process.kill()
        self._controller_killed = True
        return f"pid {', '.join(str(process.pid) for process in controllers)}"

    def _kill_job(self, _: Event) -> str:
        self.job.kill()
        self.job.start()
        self._controller_killed = False
        return "started again at once"

    def _truncate_checkpoint(self, event: Event) -> str:
        self.job.kill()
        self._controller_killed = False
        while self.cluster.training_workers():
            time.sleep(POLL)
        newest = max(checkpoint.steps(self.run_dir))
        folder = self.run_dir / "checkpoints" / f"step-{newest:09d}"
        files = sorted(entry.name for entry in folder.list())
        file = folder / files[int(event.draw * len(files))]
        data = file.read_bytes()
        left = int(event.draw * 997) % 100 * len(data) // 100
        file.write_bytes(data[:left])
        self.job.start()
        return f"{file} cut to {left} of {len(data)} bytes, the job started again"

    def _storage_outage(self, event: Event) -> str:
        how = "refused" if event.draw < 0.5 else "stalled"
        self.storage.gate.shut("refused" if how == "refused" else "stalled")
        self._outage_ends = time.monotonic() + event.seconds
        return f"{how} for {event.seconds} s"


def seconds_lost(fired: list[Fired], reached: dict[int, float], usual: float) -> dict[str, list[float]]:
    """For each kind the longest time without a new step from each of its events to the next event, in seconds.

    Args:
        reached: when each step was first seen, in order. usual: seconds of an undisturbed step, which are taken off.
    """
    lost: dict[str, list[float]] = {}
    waits = [(a, b, b - a - usual * (later - step)) for (step, a), (later, b) in itertools.pairwise(reached.items())]
    ends = [one.at for one in fired[1:]] + [math.inf]
    for one, end in zip(fired, ends, strict=True):
        longest = max((wait for a, b, wait in waits if b > one.at and a < end), default=0.0)
        lost.setdefault(one.event.kind, []).append(round(max(0.0, longest), 2))
    return lost


_BEGAN = time.monotonic()


def tell(text: str) -> None:
    print(f"[{time.monotonic() - _BEGAN:7.1f} s] {text}", file=sys.stderr, flush=True)


@dataclass
class Run:
    """A run that was carried out."""

    config: Config
    run_dir: Place
    conductor: Conductor
    seconds: float

    @property
    def problems(self) -> list[str]:
        return self.conductor.problems


def carry_out(
    config: Config,
    schedule: list[Event],
    nodes: Nodes,
    cluster: Cluster,
    storage: Storage,
    folder: Path,
    command: tuple[str, ...] = COMMAND,
) -> Run:
    """Runs a config from its start to its end, with the events of a schedule on the way."""
    cluster.restore(nodes.start)
    run_dir = place(config.run.storage) / config.run.name
    job = Job(config, cluster.address, folder, command)
    conductor = Conductor(job, cluster, storage, run_dir, Progress(run_dir, job.log), nodes, deque(schedule))
    began = time.monotonic()
    try:
        conductor.run()
    finally:
        job.kill()
    seconds = time.monotonic() - began
    tell(f"{config.run.name}: step {conductor.progress.step + 1} after {seconds:.0f} s")
    if conductor.problems:
        tell("; ".join(conductor.problems) + "\n" + job.tail(40))
    return Run(config, run_dir, conductor, seconds)


def report(run: Run, undisturbed: Run, constant: bool) -> dict[str, Any]:
    """What the benchmark says of a disturbed run."""
    progress, fired = run.conductor.progress, run.conductor.fired
    problems = list(run.problems)
    result: dict[str, Any] = {"events": dict(Counter(one.event.kind for one in fired))}
    if not problems:
        manifest = manifests.load(run.run_dir / "manifest.parquet")
        plan = SamplePlan(split(manifest, run.config.data)[0], run.config.run.seed, BATCH)
        steps = run.config.train.epochs * plan.steps_per_epoch
        verdict = judge(run.run_dir, undisturbed.run_dir, plan, steps, constant=constant, tolerance=TOLERANCE)
        result |= {key: value for key, value in asdict(verdict).items() if key != "problems"}
        problems += verdict.problems
        result["goodput"] = json.loads((run.run_dir / "summary.json").read_bytes())["seconds"]["goodput"]
    usual = statistics.median(np.diff(list(undisturbed.conductor.progress.reached.values())).tolist() or [0.0])
    return result | {
        "steps_recomputed": progress.recomputed,
        "seconds_undisturbed": round(undisturbed.seconds, 1),
        "seconds": round(run.seconds, 1),
        "seconds_lost": seconds_lost(fired, progress.reached, usual),
        "job_starts": run.conductor.job.starts,
        "problems": problems,
        "ok": not problems,
    }


def measure(args: argparse.Namespace, folder: Path) -> bool:
    """The undisturbed run, then a disturbed one for each seed, its JSON printed; whether all is well."""
    low, high = args.workers
    # A node has room for one worker of an elastic run, whose number follows the nodes, and for two of another.
    few = high // 2 + 1
    nodes = Nodes(high, low, high + 1) if low < high else Nodes(few + 1, few, few + 2)
    epochs = max(4, -(-args.events * 3 // 2))
    steps = epochs * STEPS_PER_EPOCH
    well = True
    with storage_for(args.storage, folder) as storage, ExitStack() as stack:
        cluster = Cluster(nodes.start, cpus=node_cpus(low, high))
        stack.callback(cluster.close)
        tell(f"{nodes.start} nodes; {steps} steps; undisturbed first")
        plain = job_config(storage.images, str(folder / "runs"), "undisturbed", (high, high), epochs)
        undisturbed = carry_out(plain, [], nodes, cluster, storage, folder)
        if undisturbed.problems:
            raise SystemExit("chaos: the undisturbed run failed: " + "; ".join(undisturbed.problems))
        for seed in args.seed:
            schedule = draw(seed, args.events, steps, nodes, args.kinds)
            runs = storage.runs_of(seed)
            config = job_config(storage.images, runs, f"{folder.name}-{seed}", (low, high), epochs)
            tell(f"seed {seed}, runs in {runs}: " + " ".join(f"{event.kind}@{event.step}" for event in schedule))
            about = {"benchmark": "chaos", "seed": seed, "workers": args.workers, "steps": steps}
            about["storage"] = "s3" if runs.startswith("s3://") else "local"
            result = about | report(
                carry_out(config, schedule, nodes, cluster, storage, folder), undisturbed, constant=low == high
            )
            print(json.dumps(result), flush=True)
            well = well and result["ok"]
    return well


def parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, nargs="+", required=True, metavar="S", help="one or several, a line each")
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--workers", type=int, nargs=2, metavar=("MIN", "MAX"), default=(2, 2))
    parser.add_argument("--storage", metavar="PLACE", help="a local folder or s3://bucket/prefix; default: drawn")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="draw from these alone")
    args = parser.parse_args(words)
    if min(args.seed) < 0:
        parser.error(f"--seed {min(args.seed)}: must not be negative")
    if args.events < 0:
        parser.error(f"--events {args.events}: must not be negative")
    if not 1 <= args.workers[0] <= args.workers[1] <= BATCH:
        parser.error(f"--workers {args.workers[0]} {args.workers[1]}: needs 1 <= MIN <= MAX <= {BATCH}")
    if os.environ.get("AWS_ENDPOINT_URL", "http:").partition(":")[0] != "http":
        parser.error("AWS_ENDPOINT_URL must be http://: the gate that makes outages cannot relay https")
    args.workers = tuple(args.workers)
    return args


def main(words: list[str] | None = None) -> int:
    args = parse(words)
    thread_limits()
    os.environ.pop("RAY_ADDRESS", None)
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    if measure(args, folder):
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    tell(f"what the runs left behind: {folder}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
