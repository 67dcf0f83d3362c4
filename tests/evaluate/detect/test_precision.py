"""Average precision equals pycocotools' own, and for VOC that of its challenge on what both match alike."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as oracle_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from swav_ray.evaluate.detect import masks, precision
from swav_ray.evaluate.detect.annotations import Annotated, Objects
from swav_ray.evaluate.detect.detector import Found
from swav_ray.storage.place import place

SIDE, CLASSES = 120, 3


def mask_of(box: np.ndarray, draws: np.random.Generator) -> dict[str, Any]:
    """An ellipse in a box, roughly."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    left, top, right, bottom = box
    inside = ((2 * x - left - right) / (right - left)) ** 2 + ((2 * y - top - bottom) / (bottom - top)) ** 2
    return masks.encode(inside < draws.uniform(0.7, 1.1))


def boxes_of(draws: np.random.Generator, count: int) -> np.ndarray:
    corner = draws.uniform(0, SIDE - 50, (count, 2))
    return np.hstack([corner, corner + draws.uniform(8, 50, (count, 2))]).astype(np.float32)


def truth_of(draws: np.random.Generator, images: int, crowds: float = 0.0, difficult: float = 0.0) -> Annotated:
    objects = []
    for _ in range(images):
        count = int(draws.integers(0, 6))
        boxes = boxes_of(draws, count)
        codes = [mask_of(box, draws) for box in boxes]
        objects.append(
            Objects(
                boxes=boxes,
                labels=draws.integers(0, CLASSES, count),
                areas=np.array([masks.area(code) for code in codes], np.float64),
                crowd=draws.random(count) < crowds,
                difficult=draws.random(count) < difficult,
                masks=codes,
            )
        )
    here = place("/here")
    sizes = np.full((images, 2), SIDE)
    return Annotated(here, here, [f"{n}.jpg" for n in range(images)], sizes, objects, ["a", "b", "c"], "coco")


def guesses_of(draws: np.random.Generator, truth: Annotated) -> list[Found]:
    """Most objects a little off, some twice, some of another class, and some that are not there."""
    found = []
    for objects in truth.objects:
        again = draws.random(len(objects)) < 0.3
        boxes = np.concatenate([objects.boxes, objects.boxes[again], boxes_of(draws, 2)])
        boxes = boxes + draws.normal(0, 2.5, boxes.shape).astype(np.float32)
        boxes = np.clip(boxes, 0, SIDE)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 2)
        labels = np.concatenate([objects.labels, objects.labels[again], draws.integers(0, CLASSES, 2)])
        labels = np.where(draws.random(len(labels)) < 0.1, draws.integers(0, CLASSES, len(labels)), labels)
        scores = draws.random(len(labels)).astype(np.float32)
        found.append(Found(boxes, scores, labels, [mask_of(box, draws) for box in boxes]))
    return found


def oracle(truth: Annotated, found: list[Found], kind: str) -> list[float]:
    """pycocotools' AP, AP50, AP75, and AP of small, medium and large objects, in percent."""
    rows: list[dict[str, Any]] = []
    for image, objects in enumerate(truth.objects):
        for row in range(len(objects)):
            left, top, right, bottom = objects.boxes[row].tolist()
            assert objects.masks is not None
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": image,
                    "category_id": int(objects.labels[row]),
                    "bbox": [left, top, right - left, bottom - top],
                    "area": float(objects.areas[row]),
                    "iscrowd": int(objects.crowd[row]),
                    "segmentation": objects.masks[row],
                }
            )
    guesses: list[dict[str, Any]] = []
    for image, one in enumerate(found):
        for box, score, label, code in zip(one.boxes.tolist(), one.scores, one.labels, one.masks or (), strict=True):
            made: dict[str, Any] = {"image_id": image, "category_id": int(label), "score": float(score)}
            place_ = {"bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]}
            guesses.append(made | (place_ if kind == "bbox" else {"segmentation": code}))
    with contextlib.redirect_stdout(io.StringIO()):
        given = COCO()
        given.dataset = {
            "images": [{"id": image, "height": SIDE, "width": SIDE} for image in range(len(truth))],
            "categories": [{"id": label, "name": name} for label, name in enumerate(truth.classes)],
            "annotations": rows,
        }
        given.createIndex()
        judge = COCOeval(given, given.loadRes(guesses), kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [100 * value for value in judge.stats[:6]]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(3))
def test_cocos_figures_are_those_of_pycocotools(kind: str, seed: int) -> None:
    draws = np.random.default_rng(seed)
    truth = truth_of(draws, 24, crowds=0.15)
    found = guesses_of(draws, truth)
    figures = precision.figures(truth, found, kind=kind, recalls=101, detections=100, prefix="box ")
    expected = oracle(truth, found, kind)
    names = ["AP", "AP50", "AP75", "AP small", "AP medium", "AP large"]
    for name, value in zip(names, expected, strict=True):
        if value < 0:
            assert f"box {name}" not in figures
        else:
            assert figures[f"box {name}"].value == pytest.approx(value, abs=1e-9)
    assert 10 < expected[0] < 90


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.maximum(sides, 0).prod())
    return shared / (float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod()) - shared)


def challenge(truth: Annotated, found: list[Found], label: int) -> float:
    """AP50 of one class by the rules of the 2007 challenge, in percent."""
    guesses = sorted(
        (
            (float(s), image, box)
            for image, one in enumerate(found)
            for s, box, named in zip(one.scores, one.boxes, one.labels, strict=True)
            if named == label
        ),
        key=lambda guess: -guess[0],
    )
    taken: set[tuple[int, int]] = set()
    hits = []
    for _, image, box in guesses:
        objects = truth.objects[image]
        rows = [row for row in range(len(objects)) if objects.labels[row] == label]
        best = max(rows, key=lambda row: overlap(box, objects.boxes[row]), default=None)
        if best is None or overlap(box, objects.boxes[best]) < 0.5:
            hits.append(0)
        elif not objects.difficult[best]:
            hits.append(int((image, best) not in taken))
            taken.add((image, best))
    wanted = sum(int(((one.labels == label) & ~one.difficult).sum()) for one in truth.objects)
    good = np.cumsum(hits)
    recall, exact = good / wanted, good / np.arange(1, len(hits) + 1)
    return 100 * float(np.mean([exact[recall >= at].max(initial=0) for at in np.linspace(0, 1, 11)]))


def test_vocs_ap50_is_that_of_the_2007_challenge_if_no_object_is_found_twice(draws: np.random.Generator) -> None:
    truth = truth_of(draws, 30, difficult=0.25)
    objects = [replace(one, boxes=apart(len(one), draws)) for one in truth.objects]
    truth = replace(truth, objects=objects, kind="voc")
    found = []
    for one in objects:
        seen = draws.random(len(one)) < 0.8
        boxes = one.boxes[seen] + draws.normal(0, 2, (int(seen.sum()), 4)).astype(np.float32)
        labels = np.where(draws.random(len(boxes)) < 0.2, draws.integers(0, CLASSES, len(boxes)), one.labels[seen])
        found.append(Found(boxes, draws.random(len(boxes)).astype(np.float32), labels))
    by_class = precision.by_class(truth, found, kind="bbox", recalls=11, detections=100)
    expected = [challenge(truth, found, label) for label in range(CLASSES)]
    assert by_class.tolist() == pytest.approx(expected, abs=1e-6)
    figures = precision.figures(truth, found, kind="bbox", recalls=11, detections=100)
    assert figures["AP50"].value == pytest.approx(np.mean(expected), abs=1e-6)
    assert 20 < np.mean(expected) < 95


def apart(count: int, draws: np.random.Generator) -> np.ndarray:
    """Boxes that do not touch: each in a cell of its own."""
    cells = draws.permutation(9)[:count]
    corner = np.stack([cells % 3, cells // 3], axis=1) * 40 + draws.uniform(2, 8, (count, 2))
    return np.hstack([corner, corner + draws.uniform(18, 28, (count, 2))]).astype(np.float32)


def test_a_perfect_guess_is_100_and_none_is_0(draws: np.random.Generator) -> None:
    truth = truth_of(draws, 24)
    perfect = [Found(one.boxes, np.ones(len(one), np.float32), one.labels, one.masks) for one in truth.objects]
    nothing = [Found(one.boxes[:0], np.ones(0, np.float32), one.labels[:0], []) for one in truth.objects]
    for kind in ("bbox", "segm"):
        figures = precision.figures(truth, perfect, kind=kind, recalls=101, detections=100, published={"AP": 41.6})
        assert {name: figure.value for name, figure in figures.items() if name in ("AP", "AP50")} == {
            "AP": pytest.approx(100),
            "AP50": pytest.approx(100),
        }
        assert (figures["AP"].published, figures["AP50"].published) == (41.6, None)
        none = precision.figures(truth, nothing, kind=kind, recalls=101, detections=100)
        assert none["AP"].value == 0


def test_the_interval_holds_the_figure_and_needs_enough_images(draws: np.random.Generator) -> None:
    truth = truth_of(draws, 40)
    found = guesses_of(draws, truth)
    figure = precision.figures(truth, found, kind="bbox", recalls=101, detections=100)["AP50"]
    assert figure.low is not None
    assert figure.high is not None
    assert 1 < figure.high - figure.low < 60
    assert figure.low < figure.value < figure.high
    few = precision.figures(truth.take(range(8)), found[:8], kind="bbox", recalls=101, detections=100)["AP50"]
    assert (few.low, few.high) == (None, None)


def test_masks_are_those_of_pycocotools(draws: np.random.Generator) -> None:
    box = boxes_of(draws, 1)[0]
    code = mask_of(box, draws)
    assert np.array_equal(masks.decode(code), oracle_masks.decode(code))
    polygon = [[3.0, 4.5, 60.25, 9.0, 40.0, 70.0]]
    (expected,) = oracle_masks.frPyObjects(polygon, SIDE, SIDE)
    assert masks.of_polygons(polygon, SIDE, SIDE)["counts"] == expected["counts"]
