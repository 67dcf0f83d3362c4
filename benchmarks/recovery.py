"""How long a lost node and a drained one stop an elastic run, beside Ray Train's own settings, in the same run.

    python -m benchmarks.recovery [--repeats N]

An elastic run of 1 to 3 workers on three nodes with room for one each. Once rank 0's node is lost without notice, once
it is drained with 12 s of notice and then lost; a node joins in between. First with this project's way of running Ray
Train, then the same training with Ray's own: TorchTrainer, its elastic policy and its default intervals. The cluster's
health checks (benchmarks/chaos_parts/cluster.py) are the same for both. Prints one JSON line with the median of the
longest times without a new step; exits 1 if a run did not come to its end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.chaos import ELASTIC_CPUS, IMAGES, compile_kernels, job_config, node_cpus, prepare_environment
from benchmarks.chaos_parts.cluster import Cluster
from benchmarks.chaos_parts.conductor import carry_out, seconds_lost, tell
from benchmarks.chaos_parts.schedule import Event, Nodes
from benchmarks.chaos_parts.storage import storage_for

EPOCHS = 16
NOTICE = 12.0
STOCK = """
import sys
import ray.train.torch
from swav_ray import pretrain
from swav_ray.launch import train
train.Trainer = lambda owner, monitor, **arguments: ray.train.torch.TorchTrainer(**arguments)
train.prefer_fast_recovery = lambda: None
sys.exit(pretrain.main())
"""
EVENTS = [
    Event(40, "lose_node", "chief", 0.0, 0.0),
    Event(120, "join_node", "any", 0.0, 0.0),
    Event(180, "drain_node", "chief", 0.0, NOTICE),
]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args(arguments)
    if args.repeats < 1:
        parser.error(f"--repeats {args.repeats}: must be at least 1")
    prepare_environment()
    folder = Path(tempfile.mkdtemp(prefix="recovery-"))
    ways = {"swav_ray": ("-m", "swav_ray.pretrain"), "stock": ("-c", STOCK)}
    lost: dict[str, dict[str, list[float]]] = {way: {} for way in ways}
    problems: list[str] = []
    nodes = Nodes(start=3, least=2, most=3)
    with storage_for(str(folder / "runs"), folder, IMAGES) as storage, ExitStack() as stack:
        compile_kernels(job_config(storage.images, storage.runs_of(0), "plain", (3, 3), EPOCHS, ELASTIC_CPUS))
        cluster = Cluster(nodes.start, cpus=node_cpus(1, 3))
        stack.callback(cluster.close)
        for repeat in range(args.repeats):
            for way, command in ways.items():
                config = job_config(storage.images, storage.runs_of(0), f"{way}-{repeat}", (1, 3), EPOCHS, ELASTIC_CPUS)
                tell(f"{way}, repeat {repeat}")
                run = carry_out(config, EVENTS, nodes, cluster, storage, folder, command)
                problems += [f"{way}: {problem}" for problem in run.problems]
                reached = run.conductor.progress.reached
                for kind, seconds in seconds_lost(run.conductor.fired, reached, 0.0).items():
                    lost[way].setdefault(kind, []).extend(seconds)
    result: dict[str, Any] = {"benchmark": "recovery", "repeats": args.repeats, "notice_seconds": NOTICE}
    result |= {
        f"{way}_seconds": {kind: statistics.median(seconds) for kind, seconds in kinds.items()}
        for way, kinds in lost.items()
    }
    print(json.dumps(result | {"problems": problems}), flush=True)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
