"""Features of a folder of JPEGs: images per second of `python -m swav_ray.evaluate`'s extraction beside a DataLoader's.

    python -m benchmarks.features [--images N] [--size S] [--photo-side S] [--model resnet18] [--width W]

Prints one JSON line. The baseline is the loop that everybody writes: a Dataset with PIL and torchvision's Resize,
CenterCrop, ToTensor and Normalize, a DataLoader with a worker a CPU, and the same network in float32. It runs with
torch's usual threads, and with one, which is faster on a busy machine; `ratio` is to the better of the two. Ours is
measured in float32 and with `--precision bf16`. Each is timed whole, from its call to the last feature. Ray's own start
and that of its workers (`start_s`) come on top of ours. `cpu_ms` is the CPU time of an image, all processes counted:
other programs on the machine change it little. `--repeats N` takes all of it N times in turns and gives medians.

The images are parts of scikit-learn's sample photos, by default of 375 pixels, embedded at 224. `largest_difference` is
that from the baseline's features, relative to the largest feature: the two resize differently.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.parts.cpu_time import Clock, Cost
from swav_ray.data import manifest as manifests
from swav_ray.evaluate.features.splits import Split
from swav_ray.evaluate.features.store import PART_ROWS
from swav_ray.features.embedding import BF16, FLOAT32
from swav_ray.launch.connect import connect
from swav_ray.model.normalize import MEAN, STD
from swav_ray.model.swav import SwAVModel
from swav_ray.storage.place import place
from swav_ray.weights.backbone import Backbone, Preprocess, load_backbone

_BATCH = 64


def write_images(folder: Path, images: int, side: int) -> None:
    """JPEGs of random parts of two photos, `side` pixels wide and high."""
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(image) for image in load_sample_images().images]
    generator = np.random.default_rng(0)
    for index in range(images):
        photo = photos[index % len(photos)]
        cut = int(generator.integers(120, 400))
        left, top = (int(generator.integers(0, most - cut + 1)) for most in photo.size)
        file = folder / f"{index // 1000:03d}" / f"{index:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        photo.crop((left, top, left + cut, top + cut)).resize((side, side)).save(file, "JPEG", quality=90)


def make_backbone(folder: Path, model: str, width: float, size: int) -> Backbone:
    torch.manual_seed(0)
    file = folder / "weights.pth"
    torch.save(SwAVModel(model, width=width, hidden_dim=0, output_dim=8, prototypes=(8,)).state_dict(), file)
    backbone = load_backbone(str(file))
    backbone.preprocess = Preprocess(size)
    return backbone


class Folder(Dataset[torch.Tensor]):
    def __init__(self, files: list[str], size: int) -> None:
        self.files = files
        short = size if size <= 64 else round(size * 256 / 224)
        self.transform = transforms.Compose(
            [
                transforms.Resize(short),
                transforms.CenterCrop(size),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB"))  # type: ignore[no-any-return]


@torch.inference_mode()
def plain_loop(backbone: Backbone, files: list[str], cpus: int, threads: int) -> tuple[Cost, np.ndarray]:
    """What it costs, and the features; `threads` of the network, beside a DataLoader's worker a CPU."""
    torch.set_num_threads(threads)
    clock = Clock()
    loader = DataLoader(Folder(files, backbone.preprocess.image_size), _BATCH, num_workers=cpus)
    features = np.concatenate([backbone(images).numpy() for images in loader])
    del loader
    return clock.cost(len(files)), features


def ours(backbone: Backbone, split: Split, out: Path, precision: str) -> tuple[Cost, np.ndarray]:
    """What it costs, and the features."""
    from swav_ray.launch.features import labelled

    clock = Clock()
    (found,) = labelled(backbone, [split], place(out), lambda *_: None, precision)
    return clock.cost(len(split.ids)), found.features


def measure(folder: Path, backbone: Backbone, cpus: int, repeats: int) -> dict[str, object]:
    """Images per second and CPU time of each, and how far features are from the baseline's."""
    import ray

    files = sorted(map(str, (folder / "images").rglob("*.jpg")))
    manifest = manifests.build(str(folder / "images"))
    split = Split(manifest, np.arange(len(manifest)), np.zeros(len(manifest), np.int64), ["all"])
    few = split.rows(np.arange(min(len(manifest), cpus * PART_ROWS)))
    small = copy.deepcopy(backbone)
    small.preprocess = Preprocess(8)  # the workers start; they need not compute much
    costs, differences, starts = defaultdict[str, list[Cost]](list), {}, []
    for repeat in range(repeats):
        for name, threads in (("dataloader", cpus), ("dataloader, one thread", 1)):
            cost, expected = plain_loop(backbone, files, cpus, threads)
            costs[name].append(cost)
        began = time.perf_counter()
        connect(logs=False)  # not beside the loops, whose CPU its own processes take
        try:
            ours(small, few, folder / f"start-{repeat}", FLOAT32)
            starts.append(time.perf_counter() - began)
            for precision in (FLOAT32, BF16):
                cost, found = ours(backbone, split, folder / f"{precision}-{repeat}", precision)
                costs[precision].append(cost)
                differences[precision] = float(np.abs(found - expected).max() / np.abs(expected).max())
        finally:
            ray.shutdown()
    rates = {name: median(cost.rate for cost in found) for name, found in costs.items()}
    cpu = {name: median(cost.cpu_ms for cost in found) for name, found in costs.items()}
    loops = [name for name in costs if name.startswith("dataloader")]
    return {
        "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "ratio": {name: round(rates[name] / max(rates[loop] for loop in loops), 2) for name in (FLOAT32, BF16)},
        "cpu_ms": {name: round(cost, 2) for name, cost in cpu.items()},
        "cpu_ratio": {name: round(min(cpu[loop] for loop in loops) / cpu[name], 2) for name in (FLOAT32, BF16)},
        "repeats": repeats,
        "start_s": round(median(starts), 1),
        "largest_difference": {name: round(difference, 4) for name, difference in differences.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=224, help="side of what is embedded, in pixels")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--photo-side", type=int, default=375, help="of the images, in pixels")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    cpus = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_images(folder / "images", options.images, options.photo_side)
        backbone = make_backbone(folder, options.model, options.width, options.size)
        measured = measure(folder, backbone, cpus, options.repeats)
    document = {
        "benchmark": "features",
        "images": options.images,
        "size": options.size,
        "photo_side": options.photo_side,
        "model": f"{options.model}-w{options.width:g}",
        "cpus": cpus,
    }
    print(json.dumps(document | measured))


if __name__ == "__main__":
    main()
