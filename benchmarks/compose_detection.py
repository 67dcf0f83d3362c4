"""A small set for detection, composed of real images: items with their outlines pasted on photos.

    python -m benchmarks.compose_detection OUT [--train 48] [--val 16] [--side 160] [--classes 4] [--seed 0]
        [--items PLACE]

Items are Fashion-MNIST's, whose pixels above the background are their masks, enlarged, turned and tinted; backgrounds
are cuts of the photos that come with scikit-learn and scikit-image. OUT, a folder or s3://bucket/prefix, gets COCO's
layout (`annotations/instances_{train,val}.json`, `train/`, `val/`) in `coco/`, and PASCAL VOC's (`Annotations`,
`JPEGImages`, `ImageSets/Main`) in `voc/`. The same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
from faster_coco_eval.core import mask as rle
from PIL import Image

from swav_ray.data import manifest
from swav_ray.data.sources import read_samples
from swav_ray.storage.place import Place, place

ITEMS = "/usr/share/datasets/fashion-mnist"  # of Debian's dataset-fashion-mnist
NAMES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
# Unlike each other, so that few images teach them.
ORDER = (1, 7, 8, 3, 0, 9, 5, 2, 4, 6)
_PHOTOS = (
    ("sklearn.datasets", "images/china.jpg"),
    ("sklearn.datasets", "images/flower.jpg"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/rocket.jpg"),
    ("skimage", "data/grass.png"),
    ("skimage", "data/gravel.png"),
    ("skimage", "data/brick.png"),
)
_ABOVE = 24  # of 255: darker pixels of an item are its background
_EACH = 200  # items of a class
_HIDDEN = 0.5  # of an item that may be under later ones


@dataclass(frozen=True, eq=False)
class Pasted:
    """One item in an image: its label, and its visible pixels, (H, W) bool."""

    label: int
    mask: np.ndarray

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom, the last two outside."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def photos() -> list[np.ndarray]:
    """The backgrounds, (H, W, 3) uint8 each."""
    read = [files(package).joinpath(name).read_bytes() for package, name in _PHOTOS]
    return [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in read]


def items_of(where: str, classes: Sequence[int], each: int, cache: Place) -> dict[int, np.ndarray]:
    """The first `each` items of some classes, (each, 28, 28) uint8 by class."""
    found = manifest.load_or_build(where, cache)
    ids = found.train_ids()
    labels = found.labels[ids]
    return {
        label: np.stack([np.asarray(item)[..., 0] for item in read_samples(found, ids[labels == label][:each])])
        for label in classes
    }


def composed(
    draws: np.random.Generator, backgrounds: Sequence[np.ndarray], items: Mapping[int, np.ndarray], side: int
) -> tuple[np.ndarray, list[Pasted]]:
    """An image of about `side` pixels with one to four items, (H, W, 3) uint8, and what is in it."""
    height, width = side, round(side * draws.uniform(1.0, 1.4))
    if draws.random() < 0.5:
        height, width = width, height
    image = _cut(draws, backgrounds[draws.integers(len(backgrounds))], height, width)
    pasted: list[Pasted] = []
    for _ in range(draws.integers(1, 5)):
        label = sorted(items)[draws.integers(len(items))]
        item = items[label][draws.integers(len(items[label]))]
        placed = _placed(draws, item, height, width)
        left = [Pasted(one.label, one.mask & ~placed[1]) for one in pasted]
        if any(now.mask.sum() < _HIDDEN * before.mask.sum() for now, before in zip(left, pasted, strict=True)):
            continue
        pasted = [*left, Pasted(label, placed[1])]
        image = np.where(placed[1][:, :, None], placed[0], image)
    return image, pasted


def _cut(draws: np.random.Generator, photo: np.ndarray, height: int, width: int) -> np.ndarray:
    scale = max(height / photo.shape[0], width / photo.shape[1]) * draws.uniform(1.0, 2.0)
    photo = cv2.resize(
        photo, (round(photo.shape[1] * scale) + 1, round(photo.shape[0] * scale) + 1), interpolation=cv2.INTER_AREA
    )
    top, left = draws.integers(photo.shape[0] - height + 1), draws.integers(photo.shape[1] - width + 1)
    return photo[top : top + height, left : left + width]


def _placed(draws: np.random.Generator, item: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The item on an empty image, (H, W, 3) uint8, and its mask, (H, W) bool."""
    size = round(min(height, width) * draws.uniform(0.35, 0.6))
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), draws.uniform(-20, 20), 1.0)
    large = cv2.warpAffine(cv2.resize(item, (size, size), interpolation=cv2.INTER_CUBIC), turn, (size, size))
    outlines, _ = cv2.findContours((large > _ABOVE).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros((size, size), np.uint8)
    cv2.drawContours(filled, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    tint = draws.uniform(0.5, 1.0, 3)
    top, left = draws.integers(height - size + 1), draws.integers(width - size + 1)
    image, mask = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), bool)
    image[top : top + size, left : left + size] = (large[:, :, None] * tint).astype(np.uint8)
    mask[top : top + size, left : left + size] = filled.astype(bool)
    return image, mask


def coco_document(names: Sequence[str], found: Sequence[tuple[np.ndarray, list[Pasted]]], used: Sequence[int]) -> Any:
    """COCO's JSON; masks as run-length codes."""
    images, annotations = [], []
    for number, (name, (image, pasted)) in enumerate(zip(names, found, strict=True)):
        images.append({"id": number, "file_name": name, "height": image.shape[0], "width": image.shape[1]})
        for one in pasted:
            left, top, right, bottom = one.box
            code = rle.encode(np.asfortranarray(one.mask.astype(np.uint8)))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": one.label + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": int(one.mask.sum()),
                    "iscrowd": 0,
                    "segmentation": {"size": list(one.mask.shape), "counts": code["counts"].decode()},
                }
            )
    categories = [{"id": label + 1, "name": NAMES[label]} for label in sorted(used)]
    return {"images": images, "annotations": annotations, "categories": categories}


def voc_xml(name: str, image: np.ndarray, pasted: Sequence[Pasted]) -> bytes:
    """VOC's XML of one image: boxes from 1, both ends inside."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = name
    size = ElementTree.SubElement(root, "size")
    for key, value in zip(("width", "height", "depth"), (image.shape[1], image.shape[0], 3), strict=True):
        ElementTree.SubElement(size, key).text = str(value)
    for one in pasted:
        entry = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(entry, "name").text = NAMES[one.label]
        ElementTree.SubElement(entry, "difficult").text = "0"
        box = ElementTree.SubElement(entry, "bndbox")
        left, top, right, bottom = one.box
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), (left + 1, top + 1, right, bottom), strict=True):
            ElementTree.SubElement(box, key).text = str(value)
    return ElementTree.tostring(root)


def compose(out: Place, items: Mapping[int, np.ndarray], *, train: int, val: int, side: int, seed: int) -> None:
    """Writes both layouts; the same arguments write the same bytes.

    Args:
        items: by their class, (N, 28, 28) uint8 each.
    """
    backgrounds = photos()
    for split, voc_split, count in (("train", "trainval", train), ("val", "test", val)):
        draws = [np.random.default_rng([seed, split == "val", number]) for number in range(count)]
        found = [composed(generator, backgrounds, items, side) for generator in draws]
        names = [f"{split}_{number:05d}" for number in range(count)]
        for name, (image, pasted) in zip(names, found, strict=True):
            jpeg = _jpeg(image)
            (out / "coco" / split / f"{name}.jpg").write_bytes(jpeg)
            (out / "voc" / "JPEGImages" / f"{name}.jpg").write_bytes(jpeg)
            (out / "voc" / "Annotations" / f"{name}.xml").write_bytes(voc_xml(f"{name}.jpg", image, pasted))
        document = coco_document([f"{name}.jpg" for name in names], found, sorted(items))
        (out / "coco" / "annotations" / f"instances_{split}.json").write_bytes(json.dumps(document).encode())
        lines = "".join(f"{name}\n" for name in names)
        (out / "voc" / "ImageSets" / "Main" / f"{voc_split}.txt").write_bytes(lines.encode())


def _jpeg(image: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "JPEG", quality=92)
    return sink.getvalue()


def main(words: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Composes a small detection set of real images.")
    parser.add_argument("out", metavar="OUT", help="a folder or s3://bucket/prefix")
    for name, usual in (("train", 48), ("val", 16), ("side", 160), ("classes", 4), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=usual, help="(%(default)s)")
    parser.add_argument("--items", default=ITEMS, metavar="PLACE", help="Fashion-MNIST (%(default)s)")
    options = vars(parser.parse_args(words))
    out, used = place(options["out"]), ORDER[: options["classes"]]
    with tempfile.TemporaryDirectory() as cache:
        items = items_of(options["items"], used, _EACH, place(cache))
    compose(out, items, **{name: options[name] for name in ("train", "val", "side", "seed")})
    print(json.dumps({**options, "out": out.uri}))


if __name__ == "__main__":
    main()
