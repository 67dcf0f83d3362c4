"""Labels of a CSV for a list of N images: sorted on disk and joined, beside those of a list in memory.

    python -m benchmarks.labels [--images N ...] [--beside M]

For each N a made-up list (benchmarks.scale) is written in partitions, and a CSV that names each image in random order
with one of 1,000 labels. A fresh process labels the list. Prints one JSON line: seconds, and megabytes by which its
resident memory grew after its imports. Up to `--beside` images the same is done with the list in memory; `ratio` is
memory at the largest N that has both.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.scale import A_CLASS, resident, rows_of
from swav_ray.data import manifest as manifests
from swav_ray.data.indexing.partitions import PartitionWriter
from swav_ray.data.labels.in_memory import with_labels
from swav_ray.data.labels.in_storage import labelled_in_storage
from swav_ray.data.manifest import Manifest
from swav_ray.storage.place import place


def write(images: int, folder: Path) -> None:
    writer, random = PartitionWriter(place(folder) / "list"), np.random.default_rng(0)
    with (folder / "labels.csv").open("w") as lines:
        for table in rows_of(images):
            writer.write(table)
            paths = table["uri"].to_pylist()
            lines.writelines(f"{paths[row]},{row % 1000}\n" for row in random.permutation(len(paths)).tolist())
    classes = [f"class {number}" for number in range(-(-images // A_CLASS))]
    manifests.save(Manifest(writer.close(), "/images", classes, "0"), place(folder) / "list.parquet")


def measure(folder: Path, *, in_memory: bool) -> dict[str, float]:
    before, start = resident(), time.perf_counter()
    found, file = manifests.load(place(folder) / "list.parquet"), place(folder / "labels.csv")
    if in_memory:
        labelled, _ = with_labels(found.in_memory(), file, keep_own=True)
    else:
        labelled = labelled_in_storage(found, file, place(folder / "cache"))
    seconds = time.perf_counter() - start
    if labelled.count(0, labelled=True) + labelled.count(1, labelled=True) != len(found):
        raise SystemExit("not all images have their label")
    return {"s": round(seconds, 1), "mb": round(resident() - before)}


def in_a_process(folder: Path, how: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.labels", "--child", how, "--folder", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[300_000, 3_000_000], help="(default %(default)s)")
    parser.add_argument("--beside", type=int, default=3_000_000, help="most images in memory (default %(default)s)")
    parser.add_argument("--child", choices=("storage", "memory"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.folder, in_memory=arguments.child == "memory")))
        return
    result: dict[str, dict[str, dict[str, float]]] = {}
    for images in arguments.images:
        with tempfile.TemporaryDirectory(prefix="labels") as temporary:
            write(images, Path(temporary))
            hows = ("storage", "memory") if images <= arguments.beside else ("storage",)
            result[str(images)] = {how: in_a_process(Path(temporary), how) for how in hows}
    both = [found for found in result.values() if "memory" in found]
    ratio = round(both[-1]["storage"]["mb"] / both[-1]["memory"]["mb"], 3) if both else None
    print(json.dumps({"benchmark": "labels", **result, "ratio": ratio}))


if __name__ == "__main__":
    main()
