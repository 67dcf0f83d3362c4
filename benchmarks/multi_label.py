"""A small set of real images with several labels each: Fashion-MNIST items, up to four of them on a canvas.

    python -m benchmarks.multi_label FASHION_MNIST OUT [--train 1000] [--val 1000]

FASHION_MNIST is a place of its four IDX files. OUT gets `train/` and `val/`, flat folders of PNGs of 56 x 56 pixels,
and `labels.csv` for both, with the names of the items on each, separated by `|`. Items of `val/` are those of the test
split. About one canvas in thirty is empty. Nothing is measured; the set is for

    python -m swav_ray.evaluate svm --checkpoint C --train OUT/train --val OUT/val --labels OUT/labels.csv
"""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

from swav_ray.data import manifest as manifests
from swav_ray.data.manifest import Manifest
from swav_ray.data.sources import read_samples

NAMES = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
_SIDE = 28  # of an item
_CELLS = 4
_PROBABILITIES = (0.03, 0.32, 0.35, 0.2, 0.1)  # of so many items on a canvas


def canvases(items: Manifest, ids: np.ndarray, count: int, seed: int) -> list[tuple[bytes, list[str]]]:
    """PNGs and the names of the items on each, sorted, each name once.

    Args:
        items: Fashion-MNIST. ids: the samples to choose from.
    """
    generator = np.random.default_rng(seed)
    numbers = generator.choice(_CELLS + 1, count, p=_PROBABILITIES)
    chosen = [np.sort(generator.choice(ids, number, replace=False)) for number in numbers]
    wanted = np.unique(np.concatenate(chosen))
    pixels = dict(zip(wanted.tolist(), read_samples(items, wanted), strict=True))
    made = []
    for row in chosen:
        canvas = np.zeros((2 * _SIDE, 2 * _SIDE, 3), np.uint8)
        for cell, sample in zip(generator.permutation(_CELLS), row.tolist(), strict=False):
            top, left = _SIDE * (cell // 2), _SIDE * (cell % 2)
            canvas[top : top + _SIDE, left : left + _SIDE] = pixels[sample]
        sink = io.BytesIO()
        Image.fromarray(canvas).save(sink, "PNG")
        made.append((sink.getvalue(), sorted({NAMES[items.labels[sample]] for sample in row})))
    return made


def write(fashion_mnist: str, out: Path, train: int, val: int) -> None:
    """Writes the whole set."""
    items = manifests.build(fashion_mnist)
    rows = []
    for seed, (split, ids, count) in enumerate(
        (("train", items.train_ids(), train), ("val", items.test_ids(), val)), start=1
    ):
        (out / split).mkdir(parents=True, exist_ok=True)
        for number, (png, names) in enumerate(canvases(items, ids, count, seed)):
            name = f"{split}-{number:05d}.png"
            (out / split / name).write_bytes(png)
            rows.append((name, "|".join(names)))
    with (out / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("name", "label"), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("fashion_mnist", metavar="FASHION_MNIST")
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--val", type=int, default=1000)
    options = parser.parse_args()
    write(options.fashion_mnist, options.out, options.train, options.val)


if __name__ == "__main__":
    main()
