"""PASCAL VOC as detection data: one year's folder, or a VOCdevkit of several years at once (VOC07+12)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from swav_ray.data.formats import voc
from swav_ray.data.formats.voc import VocImage
from swav_ray.evaluate.detect.annotations import EXAMPLES, Annotated, Objects, cut_to_image, has_area
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.storage.place import Place

_YEARS = [f"VOC{year}" for year in range(2007, 2013)]
_SETS = {"--train": ("trainval", "train"), "--val": ("test", "val")}


def years_of(where: Place) -> list[Place]:
    """The place itself if it is one year of VOC, else the years below it; empty if there are none."""
    return [where] if voc.is_voc(where) else [where / year for year in _YEARS if voc.is_voc(where / year)]


def read_voc(where: Place, option: str) -> Annotated:
    """The images of every year's `trainval` set (or `train`), or for validation `test` (or `val`).

    Args:
        where: a place of which `years_of` found some. option: --train or --val.

    Raises:
        EvaluationError: no year has such an image set, or a box cannot be. PlaceError: a file is missing or wrong.
    """
    names: list[str] = []
    images: list[VocImage] = []
    for year in years_of(where):
        there = voc.image_sets(year)
        if (found := next((name for name in _SETS[option] if name in there), None)) is None:
            continue
        below = "" if year == where else f"{year.name}/"
        read = list(voc.read_annotations(year, voc.image_set(year, found)))
        images += read
        names += [below + image.file for image in read]
    if not images:
        raise EvaluationError(f"{option} {where}: has no image set {' or '.join(_SETS[option])} in {voc.IMAGE_SETS}")
    _check_files(where, names)
    classes = sorted({found.name for image in images for found in image.objects})
    flat: list[str] = []
    objects = [_objects(where, name, image, classes, flat) for name, image in zip(names, images, strict=True)]
    sizes = np.array([(image.height, image.width) for image in images], np.int64)
    notes = []
    if flat:
        some = ", ".join(flat[:EXAMPLES])
        notes.append(f"{where}: {len(flat):,} objects whose box has no area are left out: {some}")
    return Annotated(where, where, names, sizes, objects, classes, "voc", notes)


def _check_files(where: Place, names: Sequence[str]) -> None:
    folders = sorted({name.rpartition("/")[0] for name in names})
    there = {f"{folder}/{entry.name}" for folder in folders for entry in (where / folder).list()}
    if missing := [name for name in names if name not in there]:
        some = ", ".join(missing[:EXAMPLES])
        raise EvaluationError(f"{where}: {len(missing):,} of its images are not there: {some}")


def _objects(where: Place, name: str, image: VocImage, classes: Sequence[str], flat: list[str]) -> Objects:
    """The objects of one image; the names of images with boxes without area are added to `flat`."""
    if image.width < 1 or image.height < 1:
        raise EvaluationError(f"{where}: the annotation of {name} has no <size>")
    # From pixels counted from 1, both ends inside, to edges.
    given = np.array([found.box for found in image.objects], np.float64).reshape(-1, 4) - (1, 1, 0, 0)
    boxes = cut_to_image(given, image.height, image.width)
    if np.isnan(boxes).any():
        row = image.objects[int(np.flatnonzero(np.isnan(boxes).any(axis=1))[0])]
        raise EvaluationError(
            f"{where}: {name}: the box {row.box} of a {row.name} lies outside its image of {image.width} x "
            f"{image.height} pixels"
        )
    kept = has_area(boxes)
    flat += [name] * int((~kept).sum())
    found, boxes = [one for one, keep in zip(image.objects, kept, strict=True) if keep], boxes[kept]
    return Objects(
        boxes=boxes.astype(np.float32),
        labels=np.array([classes.index(one.name) for one in found], np.int64),
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1),
        crowd=np.zeros(len(found), bool),
        difficult=np.array([one.difficult for one in found], bool),
    )
