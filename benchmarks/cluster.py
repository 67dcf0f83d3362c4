"""A cluster of eight nodes on one machine: training nodes, CPU-only nodes that make the crops, images from S3.

    python -m benchmarks.cluster [--workers N] [--train-nodes N] [--crop-nodes N] [--images N] [--epochs N]

Prints one JSON line: on which nodes crops were made (as Ray's own record of its tasks has it), how many bytes went from
node to node (as the raylets count them) beside the bytes of the batches, and images/s beside the same training with the
same workers on a single node in the same run. Exit 0 only if every crop was made on a CPU-only node, every sample was
trained on exactly once an epoch, and the losses of both clusters are equal bit for bit.

A training node has just the CPUs that its workers hold, and a crop node has fewer than one worker needs, so that each
kind of work fits one kind of node; with GPUs the GPU does that.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import statistics
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_worker_niceness", "0")

import ray
from ray.cluster_utils import Cluster
from ray.core.generated import common_pb2

from benchmarks.parts.patient_start import patient_start
from benchmarks.parts.s3_server import S3Server
from swav_ray import settings
from swav_ray.config import Config, replace
from swav_ray.data import manifest
from swav_ray.data.sample_plan import SamplePlan, digest
from swav_ray.data.shapes import write_shapes
from swav_ray.launch.train import train
from swav_ray.recipes import quickstart
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import place

CPUS_PER_WORKER = 1.5
STORE = 150 * 2**20


def make_config(options: argparse.Namespace, images: str, runs: str, name: str) -> Config:
    config = replace(
        quickstart(),
        run={"name": name, "storage": runs, "progress_seconds": 5.0},
        data={"uri": images},
        crops={"sizes": (64, 48), "counts": (2, 2)},
        model={"width": 0.125, "hidden_dim": 64, "output_dim": 32, "prototypes": (40,)},
        train={"epochs": options.epochs, "global_batch_size": 128},
        eval={"knn_every_epochs": 0, "max_bank": 256, "max_queries": 64},
        scaling={"cpus_per_worker": CPUS_PER_WORKER, "device": "cpu"},
    )
    # As on the command line, so that a range of workers can be given as soon as the setting takes one.
    return settings.with_values(config, settings.parse_arguments(["--scaling.num_workers", *options.workers]))


def crop_tasks() -> dict[str, int]:
    """How many tasks that made crops ran on each node (hex id), by the task events that Ray keeps."""
    counts: dict[str, int] = collections.Counter()
    for event in ray._private.state.state._get_all_task_events():
        finished = common_pb2.TaskStatus.Value("FINISHED") in event.state_updates.state_ts_ns
        if "Crops" in event.task_info.name and finished:
            counts[event.state_updates.node_id.hex()] += 1
    return dict(counts)


def received_bytes() -> float:
    """Bytes of objects that the nodes have received from each other, by the raylets' own metrics."""
    total = 0.0
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for node in ray.nodes():
        url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        for line in opener.open(url, timeout=30).read().decode().splitlines():
            if line.startswith("ray_object_manager_bytes") and 'Type="Received"' in line:
                total += float(line.rpartition(" ")[2])
    return total


def run(config: Config, cluster: Cluster) -> list[dict[str, Any]]:
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    with contextlib.redirect_stdout(sys.stderr):  # what the training prints; the JSON line has stdout
        if train(config) is None:
            raise SystemExit("the training did not reach its end")
    return read_metrics(place(config.run.storage) / config.run.name)


def exactly_once(config: Config, records: list[dict[str, Any]]) -> bool:
    """Whether every step trained on the planned samples, by the digests in metrics.jsonl."""
    plan = SamplePlan(manifest.build(config.data.uri).train_ids(), config.run.seed, config.train.global_batch_size)
    planned = [digest(batch) for batch in plan.batches(0, config.train.epochs * plan.steps_per_epoch)]
    return [record["ids"] for record in records] == planned


def rate(records: list[dict[str, Any]]) -> float:
    return statistics.median(record["images_per_second"] for record in records)


def measure(options: argparse.Namespace, images: str, runs: str) -> dict[str, Any]:
    workers = int(options.workers[-1])
    per_node = workers * CPUS_PER_WORKER / options.train_nodes
    if per_node != int(per_node) or options.crop_nodes < 1:
        raise SystemExit(f"--workers {workers}: times {CPUS_PER_WORKER} must be a whole number of CPUs for each node")
    node_args = {"include_dashboard": False, "object_store_memory": STORE}

    config = make_config(options, images, runs, "eight")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **node_args})
    makers = []
    for index in range(options.train_nodes + options.crop_nodes):
        trains = index < options.train_nodes
        node = cluster.add_node(num_cpus=int(per_node) if trains else 1, object_store_memory=STORE)
        makers += [] if trains else [node.node_id]
    records = run(config, cluster)
    made, moved = crop_tasks(), received_bytes()
    ray.shutdown()
    cluster.shutdown()

    alone = make_config(options, images, runs, "one")
    cpus = int(workers * CPUS_PER_WORKER) + options.crop_nodes
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, **node_args})
    baseline = run(alone, cluster)
    ray.shutdown()
    cluster.shutdown()

    batches = 3 * config.crops.pixels * config.train.global_batch_size * len(records)
    return {
        "benchmark": "cluster",
        "nodes": 1 + options.train_nodes + options.crop_nodes,
        "crop_nodes": options.crop_nodes,
        "workers": workers,
        "steps": len(records),
        "crop_tasks_on_crop_nodes": sum(count for node, count in made.items() if node in makers),
        "crop_tasks_elsewhere": sum(count for node, count in made.items() if node not in makers),
        "crop_nodes_that_made_some": sum(node in makers for node in made),
        "bytes_between_nodes": int(moved),
        "bytes_of_batches": batches,
        "ratio_bytes": round(moved / batches, 3),
        "images_per_second": round(rate(records), 1),
        "images_per_second_one_node": round(rate(baseline), 1),
        "ratio_images_per_second": round(rate(records) / rate(baseline), 2),
        "exactly_once": exactly_once(config, records),
        "losses_equal": [r["loss"] for r in records] == [r["loss"] for r in baseline],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workers", nargs="+", default=["8"], help="training workers (default 8)")
    parser.add_argument("--train-nodes", type=int, default=4, help="default %(default)s")
    parser.add_argument("--crop-nodes", type=int, default=3, help="CPU-only nodes (default %(default)s)")
    parser.add_argument("--images", type=int, default=1024, help="default %(default)s")
    parser.add_argument("--epochs", type=int, default=2, help="default %(default)s")
    options = parser.parse_args()
    os.environ.pop("RAY_ADDRESS", None)
    # Eight raylets on two busy cores.
    with patient_start(300), tempfile.TemporaryDirectory() as folder:
        server = S3Server(Path(folder))
        server.start()
        try:
            os.environ.update(server.environment)
            images, runs = server.make_bucket("images"), server.make_bucket("runs")
            write_shapes(place(images), train=options.images, test=64, size=64, seed=0, rows_per_shard=256)
            result = measure(options, images, runs)
        finally:
            server.kill()
    print(json.dumps(result))
    sound = result["exactly_once"] and result["losses_equal"] and result["crop_tasks_elsewhere"] == 0
    return 0 if sound and result["crop_tasks_on_crop_nodes"] else 1


if __name__ == "__main__":
    sys.exit(main())
