"""COCO's JSON is read whole, and every mistake in it is one line that names it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swav_ray.evaluate.detect import masks
from swav_ray.evaluate.detect.annotations import Annotated
from swav_ray.evaluate.detect.coco import read_coco
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.storage.place import place

SQUARE = [[2.0, 3.0, 12.0, 3.0, 12.0, 9.0, 2.0, 9.0]]
DOCUMENT: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "a.jpg", "height": 20, "width": 30},
        {"id": 9, "file_name": "b/c.jpg", "height": 8, "width": 8},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 5, "bbox": [2, 3, 10, 6], "area": 60, "segmentation": SQUARE},
        {
            "id": 2,
            "image_id": 7,
            "category_id": 3,
            "bbox": [0, 0, 30, 20],
            "area": 9,
            "iscrowd": 1,
            "segmentation": {"size": [20, 30], "counts": [0, 9, 591]},
        },
    ],
    "categories": [{"id": 3, "name": "crowd"}, {"id": 5, "name": "square"}],
}


def read(folder: Path, change: Callable[[dict[str, Any]], Any] = lambda _: None) -> Annotated:
    document = copy.deepcopy(DOCUMENT)
    change(document)
    (folder / "b").mkdir(exist_ok=True)
    for name in ("a.jpg", "b/c.jpg"):
        (folder / name).touch()
    (folder / "labels.json").write_text(json.dumps(document))
    return read_coco(place(folder / "labels.json"))


def test_boxes_become_corners_categories_labels_and_segmentations_masks(tmp_path: Path) -> None:
    found = read(tmp_path)
    first, second = found.objects
    assert first.boxes.tolist() == [[2, 3, 12, 9], [0, 0, 30, 20]]
    assert (first.labels.tolist(), first.areas.tolist(), first.crowd.tolist()) == ([1, 0], [60, 9], [False, True])
    assert len(second) == 0
    assert found.classes == ["crowd", "square"]
    assert found.sizes.tolist() == [[20, 30], [8, 8]]
    assert found.has_masks
    assert first.masks is not None
    square = np.zeros((20, 30), np.uint8)
    square[3:9, 2:12] = 1
    assert np.array_equal(masks.decode(first.masks[0]), square)
    assert masks.area(first.masks[1]) == 9


def test_an_image_with_crowds_alone_or_nothing_teaches_nothing(tmp_path: Path) -> None:
    assert read(tmp_path).trainable().tolist() == [0]
    assert read(tmp_path, lambda d: d["annotations"].pop(0)).trainable().tolist() == []


def test_a_box_over_the_edge_by_rounding_is_cut(tmp_path: Path) -> None:
    found = read(tmp_path, lambda d: d["annotations"][0].update(bbox=[-0.6, 3, 31.9, 6]))
    assert found.objects[0].boxes[0].tolist() == [0, 3, 30, 9]


def test_boxes_without_area_are_left_out_and_told(tmp_path: Path) -> None:
    found = read(tmp_path, lambda d: d["annotations"][0].update(bbox=[2, 3, 0, 6]))
    assert len(found.objects[0]) == 1
    (note,) = found.notes
    assert "1 annotations whose box has no area are left out: 1" in note


def test_masks_that_some_annotations_lack_are_not_used(tmp_path: Path) -> None:
    found = read(tmp_path, lambda d: d["annotations"][0].pop("segmentation"))
    assert not found.has_masks
    assert "not every annotation has a mask" in found.notes[0]


def put(where: str, **values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda document: document[where][0].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            put("annotations", bbox=[20, 3, 30, 6]),
            r"annotation 1: box \[20, 3, 30, 6\] lies outside its image",
        ),
        (put("annotations", bbox=[-9, 3, 10, 6]), "lies outside its image"),
        (put("annotations", bbox=[1, 2, 3]), r"box \[1, 2, 3\] is not \[left, top, width, height\]"),
        (put("annotations", bbox=[1, 2, float("nan"), 3]), "is not .left, top, width, height."),
        (put("annotations", category_id=4), "annotation 1: is of category 4, which the file does not list"),
        (put("annotations", image_id=8), "annotation 1: is of image 8, which the file does not list"),
        (
            put("annotations", segmentation={"size": [8, 8], "counts": [64]}),
            r"mask is for \[8, 8\], its image has 20 x 30",
        ),
        (put("annotations", segmentation={"size": [20, 30], "counts": [3]}), "its mask is no run-length code"),
        (put("annotations", segmentation={"size": [20, 30]}), "its mask is no run-length code"),
        (put("annotations", segmentation=[[1, 2, 3]]), "neither polygons nor run-length counts"),
        (put("annotations", segmentation=[[0, 0, 90, 0, 90, 9]]), "its mask lies outside its image of 30 x 20"),
        (put("images", height=0), "image a.jpg has no height and width"),
        (put("images", id=9), "two of its images have the same id"),
        (put("images", file_name="gone.jpg"), "its image gone.jpg is in none of"),
        (lambda d: d["images"][1].update(file_name="gone.jpg"), "1 of its images are not in .*: gone.jpg"),
        (lambda d: d["annotations"].clear(), "holds no annotations"),
        (lambda d: d["categories"].clear(), "holds no categories"),
        (lambda d: d.pop("images"), "is no COCO file: it has no list of images"),
        (
            lambda d: d["annotations"][0].pop("bbox"),
            "one of its annotations has no image_id or no bbox",
        ),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message) as caught:
        read(tmp_path, change)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "labels.json") in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "{", '"images"', "{}"])
def test_another_json_is_no_coco_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(EvaluationError, match="is no "):
        read_coco(place(tmp_path / "other.json"))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no such file; give a COCO JSON file"):
        read_coco(place(tmp_path / "none.json"))
