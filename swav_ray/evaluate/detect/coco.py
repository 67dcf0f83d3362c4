"""COCO's JSON: `images`, `annotations`, `categories` (https://cocodataset.org/#format-data), and where its images are.

Every mistake in such a file is told in one line with an example, since the file is usually somebody's own export.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from swav_ray.evaluate.detect import masks as codes
from swav_ray.evaluate.detect.annotations import EXAMPLES, Annotated, Objects, cut_to_image, has_area
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.storage.place import Place

_PARTS = ("images", "annotations", "categories")


def read_coco(file: Place) -> Annotated:
    """The annotated images of a COCO file, its images found beside it.

    Raises:
        EvaluationError: the file is no COCO file, or something in it cannot be: the message names it.
    """
    document = _document(file)
    images, categories = document["images"], document["categories"]
    label_of = {category["id"]: label for label, category in enumerate(categories)}
    row_of = {image["id"]: row for row, image in enumerate(images)}
    if len(row_of) < len(images):
        raise EvaluationError(f"{file}: two of its images have the same id")
    rows: list[list[Mapping[str, Any]]] = [[] for _ in images]
    for annotation in document["annotations"]:
        name = f"{file}: annotation {annotation.get('id')}"
        if annotation.get("image_id") not in row_of:
            raise EvaluationError(f"{name}: is of image {annotation.get('image_id')}, which the file does not list")
        if annotation.get("category_id") not in label_of:
            raise EvaluationError(
                f"{name}: is of category {annotation.get('category_id')}, which the file does not list"
            )
        rows[row_of[annotation["image_id"]]].append(annotation)
    masked = all("segmentation" in row and row["segmentation"] for found in rows for row in found)
    sizes = np.array([_size(file, image) for image in images], np.int64).reshape(-1, 2)
    flat: list[str] = []
    objects = [
        _objects(file, found, label_of, int(height), int(width), masked, flat)
        for found, (height, width) in zip(rows, sizes, strict=True)
    ]
    names = [image["file_name"] for image in images]
    notes = []
    if flat:
        notes.append(f"{file}: {len(flat):,} annotations whose box has no area are left out: {_some(flat)}")
    if not masked and any("segmentation" in row and row["segmentation"] for found in rows for row in found):
        notes.append(f"{file}: not every annotation has a mask, so masks are neither trained nor judged")
    classes = [str(category["name"]) for category in categories]
    return Annotated(file, _root(file, names), names, sizes, objects, classes, "coco", notes)


def _document(file: Place) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise EvaluationError(f"{file}: no such file; give a COCO JSON file") from None
    except ValueError as error:
        raise EvaluationError(f"{file}: is no JSON ({error})") from None
    lacks = [part for part in _PARTS if not isinstance(document, dict) or not isinstance(document.get(part), list)]
    if lacks:
        raise EvaluationError(f"{file}: is no COCO file: it has no list of {', '.join(lacks)}")
    for part, keys in zip(_PARTS, (("id", "file_name"), ("image_id", "bbox"), ("id", "name")), strict=True):
        for entry in document[part]:
            if not isinstance(entry, dict) or any(key not in entry for key in keys):
                raise EvaluationError(f"{file}: is no COCO file: one of its {part} has no {' or no '.join(keys)}")
    if not document["categories"] or not document["annotations"]:
        raise EvaluationError(f"{file}: holds no {'categories' if not document['categories'] else 'annotations'}")
    return dict(document)


def _size(file: Place, image: Mapping[str, Any]) -> tuple[int, int]:
    height, width = image.get("height"), image.get("width")
    if not isinstance(height, int) or not isinstance(width, int) or height < 1 or width < 1:
        raise EvaluationError(f"{file}: image {image['file_name']} has no height and width")
    return height, width


def _objects(
    file: Place,
    rows: Sequence[Mapping[str, Any]],
    label_of: Mapping[int, int],
    height: int,
    width: int,
    masked: bool,
    flat: list[str],
) -> Objects:
    """The objects of one image; ids of annotations without area are added to `flat`."""
    given = np.array([_corners(file, row) for row in rows], np.float64).reshape(-1, 4)
    boxes = cut_to_image(given, height, width)
    if np.isnan(boxes).any():
        row = rows[int(np.flatnonzero(np.isnan(boxes).any(axis=1))[0])]
        raise EvaluationError(
            f"{file}: annotation {row.get('id')}: box {row['bbox']} lies outside its image of {width} x {height} pixels"
        )
    kept = has_area(boxes)
    flat += [str(row.get("id")) for row, keep in zip(rows, kept, strict=True) if not keep]
    rows, boxes = [row for row, keep in zip(rows, kept, strict=True) if keep], boxes[kept]
    masks = [_mask(file, row, height, width) for row in rows] if masked else None
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = [float(row.get("area", side)) for row, side in zip(rows, sides.prod(axis=1).tolist(), strict=True)]
    return Objects(
        boxes=boxes.astype(np.float32),
        labels=np.array([label_of[row["category_id"]] for row in rows], np.int64),
        areas=np.array(areas, np.float64),
        crowd=np.array([bool(row.get("iscrowd", 0)) for row in rows], bool),
        difficult=np.zeros(len(rows), bool),
        masks=masks,
    )


def _corners(file: Place, row: Mapping[str, Any]) -> list[float]:
    """COCO's (left, top, width, height) as corners."""
    box = row["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(side) for side in box):
        raise EvaluationError(f"{file}: annotation {row.get('id')}: box {box} is not [left, top, width, height]")
    left, top, width, height = box
    return [left, top, left + width, top + height]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _mask(file: Place, row: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
    """The run-length code of a segmentation: of polygons, or of counts."""
    found = row["segmentation"]
    name = f"{file}: annotation {row.get('id')}"
    if isinstance(found, dict):
        if list(found.get("size", ())) != [height, width]:
            raise EvaluationError(
                f"{name}: its mask is for {found.get('size')}, its image has {height} x {width} pixels (height, width)"
            )
        try:
            return codes.of_counts(found)
        except ValueError as error:
            raise EvaluationError(f"{name}: its mask is no run-length code ({error})") from None
    if not _are_polygons(found):
        raise EvaluationError(f"{name}: its segmentation is neither polygons nor run-length counts")
    points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in found])
    if np.isnan(cut_to_image(np.hstack([points.min(axis=0), points.max(axis=0)])[None], height, width)).any():
        raise EvaluationError(f"{name}: its mask lies outside its image of {width} x {height} pixels")
    return codes.of_polygons(found, height, width)


def _are_polygons(found: Any) -> bool:
    return isinstance(found, list) and all(
        isinstance(one, list) and len(one) >= 6 and len(one) % 2 == 0 and all(map(_is_number, one)) for one in found
    )


def _root(file: Place, names: Sequence[str]) -> Place:
    """The folder that the file's names are in: beside it, in `images`, or where COCO itself has them.

    Raises:
        EvaluationError: some or all of the images are nowhere.
    """
    split = file.name.removesuffix(".json").removeprefix("instances_")
    up = file.parent.parent
    roots = [file.parent, file.parent / "images", file.parent / split, up / split, up / "images", up]
    if not names:
        return file.parent
    root = next((folder for folder in roots if (folder / names[0]).is_file()), None)
    if root is None:
        raise EvaluationError(f"{file}: its image {names[0]} is in none of {', '.join(map(str, dict.fromkeys(roots)))}")
    there = {entry.name for entry in root.list()}
    if missing := [name for name in names if name not in there]:
        raise EvaluationError(f"{file}: {len(missing):,} of its images are not in {root}: {_some(missing)}")
    return root


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")
