"""Disturbs a real training run and checks that nothing of it was lost.

    python -m benchmarks.chaos --seed S --events N [--workers MIN MAX] [--storage PLACE] [--shuffle-block B]
        [--partitioned] [--cache]

A Ray cluster of several nodes on this machine, a small training run on it, and a schedule drawn from the seed: killed
workers, lost nodes, joining nodes, drains with a deadline, killed controllers, the whole job killed and started again,
storage outages and truncated checkpoints (`benchmarks/chaos_parts/schedule.py`). The images lie on S3, behind a gate
that makes the outages; run directories on S3 too or in a local folder, as the seed draws or `--storage` says, and
on S3 if there is an outage. With `--cache` the nodes cache images on a small disk, and that is removed, damaged and
filled too; the undisturbed run has none. Without AWS_ENDPOINT_URL an S3 server (SeaweedFS) is started here.

The run is compared with the same run undisturbed. Prints one JSON line; `seconds_lost` are, for each event of a kind,
the longest time without a new step from then to the next event, less what the undisturbed run takes for a step.
Exits 0 only if every event took place, no sample was lost or repeated, the job never ended by itself, and losses and
weights are those of the undisturbed run: bit for bit at a constant number of workers, within 1e-4 (relative, losses)
if it varies.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.chaos_parts.cluster import Cluster, thread_limits
from benchmarks.chaos_parts.compare import judge
from benchmarks.chaos_parts.conductor import Run, carry_out, seconds_lost, tell
from benchmarks.chaos_parts.node_cache import small_disk
from benchmarks.chaos_parts.schedule import CACHE_KINDS, KINDS, Nodes, draw
from benchmarks.chaos_parts.storage import storage_for
from swav_ray.config import Config, replace
from swav_ray.data import manifest as manifests
from swav_ray.data.batches import BatchMaker
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.holdout import split_ids
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.recipes import quickstart
from swav_ray.run.layout import MANIFEST, SUMMARY
from swav_ray.run.metrics_log import read_metrics

ROOT = Path(__file__).resolve().parents[1]
BATCH, STEPS_PER_EPOCH = 8, 20
IMAGES = BATCH * STEPS_PER_EPOCH + 3  # a tail that fills no batch
TOLERANCE = 1e-4  # relative, on losses, if the number of workers varies
ELASTIC_CPUS = 2.0  # of an elastic run's worker


def job_config(
    images: str, runs: str, name: str, workers: tuple[int, int], epochs: int, cpus: float, block: int = 0
) -> Config:
    """A small run: uneven slices at most numbers of workers, a queue, checkpoints within epochs and at their ends.

    At a low rate and a high temperature: worlds of several sizes are compared, and a net this small magnifies rounding
    from step to step. Moved by one unit in their last place, its weights have losses 9e-6 off after 100 steps; at ten
    times the rate and a third of the temperature 9e-3.

    Args:
        cpus: of a worker, which are its threads too: with another number of them sums are rounded otherwise.
        block: neighbouring samples that are read together.
    """
    low, high = workers
    return replace(
        quickstart(),
        run={"name": name, "storage": runs, "progress_seconds": 0.05},
        data={"uri": images, "holdout_fraction": 0.0, "shuffle_block": block, "shuffle_window": max(1, 4 * block)},
        crops={"sizes": (32, 16), "counts": (2, 2), "min_scales": (0.3, 0.1), "max_scales": (1.0, 0.4)},
        model={"width": 0.25, "hidden_dim": 32, "output_dim": 16, "prototypes": (12,)},
        queue={"length": 16, "start_epoch": 1},
        optim={"base_lr": 0.002, "final_lr": 0.0001, "warmup_epochs": 0.5, "freeze_prototypes_steps": 5},
        train={"epochs": epochs, "global_batch_size": BATCH, "temperature": 0.3},
        checkpoint={"every_epochs": 0.35, "keep_last": 3},
        scaling={
            "num_workers": (high,) if low == high else (low, high),
            "cpus_per_worker": cpus,
            "check_seconds": 5.0,
            # A process for each crop task of every node would start, on few cores, after every event.
            "crop_cpus": 1.0,
        },
        eval={"image_size": 32},
    )


def node_cpus(low: int, high: int) -> int:
    """CPUs of a node: an elastic run finds room for one worker on each, so that nodes and workers come and go together.

    One CPU of each node is left for crops.
    """
    return 2 if low == high else int(ELASTIC_CPUS) + 1


def report(run: Run, undisturbed: Run, constant: bool) -> dict[str, Any]:
    """What the benchmark says of a disturbed run."""
    progress, fired = run.conductor.progress, run.conductor.fired
    problems = list(run.problems)
    result: dict[str, Any] = {"events": dict(Counter(one.event.kind for one in fired))}
    if not problems:
        manifest = manifests.load(run.run_dir / MANIFEST)
        plan = SamplePlan.of(run.config, split_ids(manifest, run.config.data)[0])
        steps = run.config.train.epochs * plan.steps_per_epoch
        verdict = judge(run.run_dir, undisturbed.run_dir, plan, steps, constant=constant, tolerance=TOLERANCE)
        result |= {key: value for key, value in asdict(verdict).items() if key != "problems"}
        problems += verdict.problems
        result["goodput"] = json.loads((run.run_dir / SUMMARY).read_bytes())["seconds"]["goodput"]
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


def bytes_read(run: Run) -> int:
    """From S3, for the batches of all steps."""
    return sum(record["bytes_read"] for record in read_metrics(run.run_dir))


def measure(args: argparse.Namespace, folder: Path) -> bool:
    """The undisturbed run, then a disturbed one for each seed, its JSON printed; whether all is well."""
    low, high = args.workers
    # A node has room for one worker of an elastic run, whose number follows the nodes, and for two of another.
    few = high // 2 + 1
    nodes = Nodes(high, low, high + 1) if low < high else Nodes(few + 1, few, few + 2)
    epochs = max(4, -(-args.events * 3 // 2))
    steps = epochs * STEPS_PER_EPOCH
    well = True
    with storage_for(args.storage, folder, IMAGES, ranges=args.cache) as storage, ExitStack() as stack:
        cpus = 1.0 if low == high else ELASTIC_CPUS
        local, block = str(folder / "runs"), args.shuffle_block
        plain = job_config(storage.images, local, "undisturbed", (high, high), epochs, cpus, block)
        compile_kernels(plain)
        if args.partitioned:
            index_in_partitions(plain)
        cluster = Cluster(nodes.start, cpus=node_cpus(low, high))
        stack.callback(cluster.close)
        tell(f"{nodes.start} nodes; {steps} steps; undisturbed first")
        undisturbed = carry_out(plain, [], nodes, cluster, storage, folder)
        if undisturbed.problems:
            raise SystemExit("chaos: the undisturbed run failed: " + "; ".join(undisturbed.problems))
        for seed in args.seed:
            kinds = args.kinds or (*KINDS, *(CACHE_KINDS if args.cache else ()))
            schedule = draw(seed, args.events, steps, nodes, kinds)
            runs = storage.runs_of(seed, any(event.kind == "storage_outage" for event in schedule))
            config = job_config(storage.images, runs, f"{folder.name}-{seed}", (low, high), epochs, cpus, block)
            if args.partitioned:
                index_in_partitions(config)
            tell(f"seed {seed}, runs in {runs}: " + " ".join(f"{event.kind}@{event.step}" for event in schedule))
            about = {"benchmark": "chaos", "seed": seed, "workers": args.workers, "steps": steps}
            about["storage"] = "s3" if runs.startswith("s3://") else "local"
            with small_disk(folder / f"cache-{seed}") if args.cache else nullcontext() as cache:
                if cache is not None:
                    config = replace(config, scaling={"cache_dir": str(cache.folder), "cache_bytes": 64 << 20})
                run = carry_out(config, schedule, nodes, cluster, storage, folder, cache=cache)
            result = about | report(run, undisturbed, constant=low == high)
            if args.cache and not run.problems:
                result["bytes_read"] = [bytes_read(run), bytes_read(undisturbed)]
            print(json.dumps(result), flush=True)
            well = well and result["ok"]
    return well


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, nargs="+", required=True, metavar="S", help="one or several, a line each")
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--workers", type=int, nargs=2, metavar=("MIN", "MAX"), default=(2, 2))
    parser.add_argument("--storage", metavar="PLACE", help="a local folder or s3://bucket/prefix; default: drawn")
    parser.add_argument("--shuffle-block", type=int, default=0, metavar="B", help="of data.shuffle_block")
    parser.add_argument("--partitioned", action="store_true", help="keep the list of images in storage, as a long one")
    parser.add_argument("--cache", action="store_true", help="cache images on each node, and disturb the cache too")
    parser.add_argument("--kinds", nargs="+", choices=(*KINDS, *CACHE_KINDS), help="draw from these alone")
    args = parser.parse_args(arguments)
    if not args.cache and not set(args.kinds or ()).isdisjoint(CACHE_KINDS):
        parser.error(f"--kinds {' '.join(args.kinds)}: what happens to a cache needs --cache")
    if args.cache and os.geteuid() != 0:
        parser.error("--cache: must be root, to mount the small disk that is filled")
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


def index_in_partitions(config: Config) -> None:
    """The list that the run will find, in partitions although it is short."""
    uri, cache = config.data.uri, manifests.cache_of(config.run.storage)
    manifests.save(manifests.build(uri), manifests.cached_at(uri, cache), most_in_memory=0)


def compile_kernels(config: Config) -> None:
    """Makes one batch here, so that the kernels lie compiled on disk, else every process compiles all of them."""
    manifest = manifests.build(config.data.uri)
    plan = SamplePlan(manifest.train_ids(), config.run.seed, BATCH)
    maker = BatchMaker(manifest, plan, MultiCrop(config.crops, config.augment, config.run.seed))
    maker.make(0, plan.batches(0, 1)[0])


def prepare_environment() -> None:
    """What the nodes and the job inherit: this checkout's code, one thread a process, no other cluster."""
    thread_limits()
    os.environ.pop("RAY_ADDRESS", None)
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    prepare_environment()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    if measure(args, folder):
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    tell(f"what the runs left behind: {folder}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
