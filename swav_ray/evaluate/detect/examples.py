"""One image as a detector is given it: decoded, resized, in training flipped, its boxes and masks with it.

What is drawn is a function of seed, epoch and image alone, so that it is the same on any worker and after any restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from swav_ray.data.decoding.decode import UnreadableImage, decode
from swav_ray.evaluate.detect import masks as codes
from swav_ray.evaluate.detect.annotations import Annotated, Objects
from swav_ray.storage.place import StorageUnavailable

_DRAWS = 0x646574656374  # keeps these draws apart from every other use of the seed


@dataclass(frozen=True, eq=False)
class Example:
    """What a detector is given of one image.

    Attributes:
        index: of the image. key: seed of what the detector itself draws for it.
        image: (H, W, 3) uint8. boxes: (N, 4) float32 and labels: (N,) int64, 1 for the first class, of what is to be
        learned. masks: (N, H, W) uint8 of 0 and 1, or None.
    """

    index: int
    key: int
    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None


@dataclass(frozen=True)
class Augment:
    """What an image goes through.

    Attributes:
        short_sides: one is drawn for each image, in pixels. long_side: at most, in pixels. flip: probability.
        masks: whether masks are made.
    """

    short_sides: Sequence[int]
    long_side: int
    flip: float
    masks: bool


def pixels_of(annotated: Annotated, index: int) -> np.ndarray:
    """An image, (H, W, 3) uint8, upright as its EXIF says; raises UnreadableImage, or StorageUnavailable.

    Annotation tools show an image upright. One that was annotated as it lies in the file has other sides: refused.
    """
    name = annotated.names[index]
    try:
        data = (annotated.root / name).read_bytes()
    except StorageUnavailable:
        raise
    except OSError as error:
        raise UnreadableImage("missing", f"{name}: {error}") from None
    image = decode(data)
    height, width = annotated.sizes[index].tolist()
    if image.shape[:2] != (height, width):
        raise UnreadableImage(
            "other_size", f"is {image.shape[1]} x {image.shape[0]}, and its annotations are for {width} x {height}"
        )
    return image


def training_example(annotated: Annotated, index: int, augment: Augment, seed: int, epoch: int) -> Example:
    """An image and what it teaches, as drawn for this epoch; raises UnreadableImage, StorageUnavailable."""
    image = pixels_of(annotated, index)
    draws = np.random.default_rng([seed, _DRAWS, epoch, index])
    flipped = draws.random() < augment.flip
    short = augment.short_sides[int(draws.integers(len(augment.short_sides)))]
    key = int(draws.integers(2**63))
    objects = annotated.objects[index]
    learned = np.flatnonzero(~objects.crowd)
    small = resized(image, short, augment.long_side)
    boxes = objects.boxes[learned] * _scale(image, small)
    masks = _masks(objects, learned, small.shape[:2]) if augment.masks else None
    if flipped:
        small = small[:, ::-1]
        boxes = np.stack([small.shape[1] - boxes[:, 2], boxes[:, 1], small.shape[1] - boxes[:, 0], boxes[:, 3]], axis=1)
        masks = None if masks is None else np.ascontiguousarray(masks[:, :, ::-1])
    return Example(index, key, np.ascontiguousarray(small), boxes, objects.labels[learned] + 1, masks)


def test_example(annotated: Annotated, index: int, short: int, long_side: int) -> Example:
    """An image to find objects in; raises UnreadableImage, StorageUnavailable."""
    image = resized(pixels_of(annotated, index), short, long_side)
    return Example(index, 0, image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), None)


def resized(image: np.ndarray, short: int, long_side: int) -> np.ndarray:
    """An image, (H, W, 3), with a short side of so many pixels, or less if the long one would be above its limit."""
    height, width = image.shape[:2]
    scale = min(short / min(height, width), long_side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _scale(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(4,) float32: by what the coordinates of a box are multiplied."""
    y, x = after.shape[0] / before.shape[0], after.shape[1] / before.shape[1]
    return np.array([x, y, x, y], np.float32)


def _masks(objects: Objects, chosen: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    assert objects.masks is not None
    found = [codes.decode(objects.masks[row]) for row in chosen]
    return np.stack([cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST) for mask in found])
