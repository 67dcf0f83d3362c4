"""Images with boxes, classes and perhaps masks: what every format of detection data is read into.

Knows no file format. A box is (left, top, right, bottom) in pixels of the whole image, with the right and bottom edges
outside: a box over the first pixel is (0, 0, 1, 1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from swav_ray.data.sample_plan import digest
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.storage.place import Place

EXAMPLES = 3  # that a message names
_ROUNDING = 2.0  # pixels that a box may reach over the edge: what annotation tools round
_LEAST = 1e-3  # pixels of a side, below which a box has no area


@dataclass(frozen=True, eq=False)
class Objects:
    """What is in one image.

    Attributes:
        boxes: (N, 4) float32. labels: (N,) int64 into `Annotated.classes`.
        areas: (N,) float64 in pixels: of the mask if there is one, else of the box.
        crowd: (N,) bool, several objects under one mark (COCO): not trained on, and what is found there is not counted.
        difficult: (N,) bool (VOC): trained on, and neither finding nor missing it counts.
        masks: run-length encoded as pycocotools has it, one an object; None: this data has no masks.
    """

    boxes: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray
    masks: Sequence[dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, eq=False)
class Annotated:
    """A set of annotated images.

    Attributes:
        source: the place of the annotations. root: where the images are. names: of the images below it.
        sizes: (N, 2) int64, height and width as the annotations say. objects: of each image.
        classes: names of the labels. kind: "coco" or "voc".
        notes: lines for people: what was left out.
    """

    source: Place
    root: Place
    names: Sequence[str]
    sizes: np.ndarray
    objects: Sequence[Objects]
    classes: list[str]
    kind: str
    notes: Sequence[str] = field(default=())

    def __len__(self) -> int:
        return len(self.names)

    @property
    def has_masks(self) -> bool:
        """Whether every object has a mask."""
        return all(objects.masks is not None for objects in self.objects)

    def trainable(self) -> np.ndarray:
        """Indices of the images that hold an object to learn, (M,) int64 ascending."""
        return np.flatnonzero([bool((~objects.crowd).any()) for objects in self.objects])

    def about(self) -> dict[str, Any]:
        """What this is, equal for equal sets: what a result says of what it was measured on."""
        content = hashlib.sha256()
        for name, objects in zip(self.names, self.objects, strict=True):
            content.update(f"{name}\0{len(objects)}\0".encode())
            content.update(objects.boxes.tobytes() + objects.labels.tobytes())
            for mask in objects.masks or ():
                content.update(_bytes(mask["counts"]))
        content.update("\0".join(self.classes).encode())
        return {
            "place": self.source.uri,
            "fingerprint": content.hexdigest()[:32],
            "images": len(self),
            "objects": sum(len(objects) for objects in self.objects),
            "samples": digest(np.arange(len(self))),
            "classes": len(self.classes),
            "masks": self.has_masks,
        }

    def limited(self, most: int) -> Annotated:
        """At most so many images (0: all), spread evenly over them."""
        if not most or most >= len(self):
            return self
        return self.take([index * len(self) // most for index in range(most)])

    def take(self, kept: Sequence[int]) -> Annotated:
        """These images alone, renumbered from 0 in the order given."""
        return replace(
            self,
            names=[self.names[index] for index in kept],
            sizes=self.sizes[list(kept)],
            objects=[self.objects[index] for index in kept],
        )

    def with_classes(self, classes: list[str], of: Place) -> Annotated:
        """The same objects with labels into another list of classes.

        Args:
            of: whose classes they are, for the message.

        Raises:
            EvaluationError: an object here is of a class that is not in the list.
        """
        if classes == self.classes:
            return self
        rank = {name: label for label, name in enumerate(classes)}
        used = {self.classes[label] for objects in self.objects for label in objects.labels.tolist()}
        if unseen := sorted(used - rank.keys()):
            some = ", ".join(unseen[:EXAMPLES])
            raise EvaluationError(
                f"--val {self.source}: {len(unseen)} of its categories are not in --train {of}: {some}"
            )
        own = np.array([rank.get(name, -1) for name in self.classes], np.int64)
        objects = [replace(objects, labels=own[objects.labels]) for objects in self.objects]
        return replace(self, objects=objects, classes=classes)


def _bytes(counts: str | bytes) -> bytes:
    return counts.encode() if isinstance(counts, str) else counts


def cut_to_image(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes, (N, 4) float64, without what annotation tools' rounding put over the edge; NaN for those further out."""
    boxes = boxes.astype(np.float64)
    edge = np.array([width, height, width, height], np.float64)
    outside = ((boxes < -_ROUNDING) | (boxes > edge + _ROUNDING) | ~np.isfinite(boxes)).any(axis=1)
    cut = np.clip(boxes, 0, edge)
    cut[outside] = np.nan
    return cut


def has_area(boxes: np.ndarray) -> np.ndarray:
    """Whether each box, (N, 4), is wider and higher than nothing, (N,) bool."""
    return ((boxes[:, 2:] - boxes[:, :2]) > _LEAST).all(axis=1)


def check(annotated: Annotated, option: str) -> Annotated:
    """The set itself.

    Raises:
        EvaluationError: it holds no image, or no object at all.
    """
    if not len(annotated):
        raise EvaluationError(f"{option} {annotated.source}: names no images")
    if not len(annotated.trainable()):
        raise EvaluationError(f"{option} {annotated.source}: none of its {len(annotated):,} images has an annotation")
    return annotated
