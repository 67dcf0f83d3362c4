"""What a list of N samples costs a run: time to write, to start and to plan a step, and memory of each process.

    python -m benchmarks.scale [--images N ...] [--beside M] [--folder DIR]

For each N a made-up list (image files in class folders of 1,300, a fiftieth of them test images) is written and used by
fresh processes, as a run uses it:

- driver, worker: load the list, find the split, plan 64 steps of 256 far inside an epoch.
- crop task: gets worker's plan, looks up the rows of these 64 steps; once in full order, once by blocks of 64.

Each prints its seconds and by how much its resident memory grew after its imports. Up to `--beside` samples the same is
done with the list in memory, as versions before did. What 1e9 samples take is told from a line through the last two N;
starting and planning are measured at 1e9 too, since they read no row. One JSON line; `ratio`: memory of a worker beside
the list in memory, at the largest N that has both.
"""

from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from swav_ray.config import DataConfig
from swav_ray.data import manifest as manifests
from swav_ray.data.formats.names import TEST, TRAIN
from swav_ray.data.formats.rows import SCHEMA
from swav_ray.data.holdout import evenly, split_ids
from swav_ray.data.indexing.partitions import FILE_ROWS, Partitions, PartitionWriter
from swav_ray.data.manifest import Manifest
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.storage.place import place

BATCH, STEPS = 256, 64
BLOCK, WINDOW = 64, 512
_CHUNK = 1 << 18
A_CLASS = 1300
_BILLION = 10**9


def rows_of(images: int) -> Iterator[pa.Table]:
    """The list, some rows at a time."""
    for start in range(0, images, _CHUNK):
        ids = np.arange(start, min(start + _CHUNK, images))
        random = np.random.default_rng(start).integers(0, 1 << 62, len(ids)).astype(np.uint64)
        labels = ids // A_CLASS
        number, label = (pa.array(values).cast(pa.string()) for values in (random % np.uint64(10**9), labels))
        absent = np.full(len(ids), -1)
        yield pa.table(
            {
                "uri": pc.binary_join_element_wise("class", label, "/image_", number, ".jpg", ""),
                "offset": absent,
                "length": (random % np.uint64(200_000)).astype(np.int64),
                "row_group": absent.astype(np.int32),
                "row": absent.astype(np.int32),
                "label": labels.astype(np.int32),
                "split": np.where(ids % 50 == 0, TEST, TRAIN).astype(np.int8),
                "content": random,
            },
            schema=SCHEMA,
        )


def write(images: int, folder: Path, *, in_memory: bool) -> float:
    """Seconds to write the list, beyond those to make it up."""
    root = place(str(folder))
    began, made_up = time.perf_counter(), 0.0
    writer = PartitionWriter(root / "list")
    held = []
    rows = rows_of(images)
    while True:
        before = time.perf_counter()
        table = next(rows, None)
        made_up += time.perf_counter() - before
        if table is None:
            break
        if in_memory:
            held.append(table)
        else:
            writer.write(table)
    found = pa.concat_tables(held).combine_chunks() if in_memory else writer.close()
    manifests.save(Manifest(found, "/images", [], "0"), root / "list.parquet", most_in_memory=images)
    return time.perf_counter() - began - made_up


def billion(folder: Path) -> None:
    """What is held of a list of a billion samples, without its rows."""
    files = -(-_BILLION // FILE_ROWS)
    in_split = np.zeros((files, 2, 2), np.uint16)
    in_split[:, TRAIN] = FILE_ROWS
    in_split[-1, TRAIN] = _BILLION - (files - 1) * FILE_ROWS
    table = Partitions(str(folder / "absent"), _BILLION, FILE_ROWS, in_split)
    manifests.save(Manifest(table, "/images", [], "0"), place(str(folder)) / "list.parquet")


def resident() -> float:
    """Megabytes at most so far. `getrusage` would count those of the parent, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def worker(folder: Path, block: int) -> dict[str, float]:
    """In a process of its own: what a driver or worker does. Leaves its plan to `crop_task`."""
    before, began = resident(), time.perf_counter()
    found = manifests.load(place(str(folder)) / "list.parquet")
    train, held_out = split_ids(found, DataConfig())
    plan = SamplePlan(train, 0, BATCH, block, WINDOW)
    evenly(held_out, 1) if len(held_out) else None
    start = time.perf_counter() - began
    first = plan.steps_per_epoch // 2
    began = time.perf_counter()
    positions = plan.positions(first, first + 1)
    step = time.perf_counter() - began
    positions += plan.positions(first + 1, first + STEPS)
    (folder / f"plan-{block}.pickle").write_bytes(pickle.dumps((found, plan, positions)))
    return {"start_s": start, "step_s": step, "mb": resident() - before}


def crop_task(folder: Path, block: int) -> dict[str, float]:
    """In a process of its own: what a crop task does of the list."""
    before, began = resident(), time.perf_counter()
    found, plan, steps = pickle.loads((folder / f"plan-{block}.pickle").read_bytes())
    found.rows(plan.ids[steps[0]])
    first = time.perf_counter() - began
    began = time.perf_counter()
    for positions in steps[1:]:
        found.rows(plan.ids[positions])
    rest = (time.perf_counter() - began) / (STEPS - 1)
    return {"first_batch_s": first, "ms_an_image": rest / BATCH * 1e3, "mb": resident() - before}


def in_process(job: str, folder: Path, block: int = 0) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scale", "--job", job, "--folder", str(folder), "--block", str(block)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"scale: {job} ended with {done.returncode}:\n{done.stderr}")
    return {name: round(value, 4) for name, value in json.loads(done.stdout).items()}


def measure(images: int, folder: Path, *, in_memory: bool) -> dict[str, Any]:
    folder.mkdir()
    result: dict[str, Any] = {"images": images, "write_s": round(write(images, folder, in_memory=in_memory), 2)}
    result["worker"] = in_process("worker", folder)
    result["crop_task"] = in_process("crop_task", folder)
    if not in_memory:
        in_process("worker", folder, BLOCK)
        result["crop_task_by_blocks"] = in_process("crop_task", folder, BLOCK)
    print(json.dumps({"in_memory": in_memory} | result), file=sys.stderr, flush=True)
    return result


def told(results: list[dict[str, Any]], *path: str) -> float:
    """What a billion would have, by a line through the last two."""
    values = []
    for result in results[-2:]:
        value: Any = result
        for name in path:
            value = value[name]
        values.append(value)
    (n0, n1), (v0, v1) = (result["images"] for result in results[-2:]), values
    return round(v1 + (v1 - v0) * (_BILLION - n1) / (n1 - n0), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=float, nargs="+", default=[1e5, 1e6, 1e7, 1e8], metavar="N")
    parser.add_argument("--beside", type=float, default=1e7, help="most samples also held in memory (default 1e7)")
    parser.add_argument("--folder", type=Path, help="of the lists (default: a temporary one)")
    parser.add_argument("--job", choices=["worker", "crop_task"], help=argparse.SUPPRESS)
    parser.add_argument("--block", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        job = worker if arguments.job == "worker" else crop_task
        print(json.dumps(job(arguments.folder, arguments.block)))
        return
    with tempfile.TemporaryDirectory(prefix="scale", dir=arguments.folder) as temporary:
        folder = Path(temporary)
        sizes = sorted(int(size) for size in arguments.images)
        ours = [measure(size, folder / f"{size}", in_memory=False) for size in sizes]
        few = [size for size in sizes if size <= arguments.beside]
        before = [measure(size, folder / f"{size}-in-memory", in_memory=True) for size in few]
        (folder / "billion").mkdir()
        billion(folder / "billion")
        at_billion = {"worker": in_process("worker", folder / "billion")}
    line = {"benchmark": "scale", "partitions": ours, "in_memory": before, "measured_at_1e9": at_billion}
    if len(ours) > 1:
        told_of = [("write_s",), ("worker", "mb"), ("crop_task", "mb"), ("crop_task_by_blocks", "mb")]
        line["told_of_1e9"] = {" ".join(path): told(ours, *path) for path in told_of}
    if before:
        same = next(result for result in ours if result["images"] == before[-1]["images"])
        line["ratio"] = round(same["worker"]["mb"] / before[-1]["worker"]["mb"], 4)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
