"""Average precision of what was found, by faster-coco-eval, with an interval over the images.

COCO's figures are COCO's own. VOC's are the mean of the precision at 11 steps of recall, as its 2007 challenge has it
and as Detectron2 reports for its test set; AP is the mean over thresholds of overlap of .5, .55, ..., .95. Matching is
COCO's in both: a second hit on the same object takes the next best object, in VOC's own code it is false at once. What
is found on a difficult object does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from swav_ray.evaluate.detect import masks as codes
from swav_ray.evaluate.detect.annotations import Annotated
from swav_ray.evaluate.detect.detector import Found
from swav_ray.evaluate.results.protocol import Figure

if TYPE_CHECKING:
    from faster_coco_eval import COCO

BOXES, MASKS = "bbox", "segm"
_GROUPS = 10  # of images, each left out once
_LARGEST = 1e10  # pixels of the largest object that COCO counts
_Z = 1.959964  # of a 95% interval
_SIZES = ("small", "medium", "large")


def figures(
    truth: Annotated,
    found: Sequence[Found],
    *,
    kind: str,
    recalls: int,
    detections: int,
    prefix: str = "",
    published: Mapping[str, float] | None = None,
) -> dict[str, Figure]:
    """AP, AP50, AP75 and AP by size of object, in percent.

    Args:
        found: of each image of `truth`, in its order.
        kind: BOXES or MASKS. recalls: 11 for VOC, 101 for COCO. detections: most of an image that count.
        prefix: before each name. published: the paper's figures by name.
    """
    given, guessed = _datasets(truth, found, kind)
    values = _values(given, guessed, kind, recalls, detections, np.arange(len(truth)))
    groups = _groups(len(truth))
    without = [_values(given, guessed, kind, recalls, detections, kept) for kept in groups]
    made = {}
    for name, value in values.items():
        low, high = _interval(value, [values[name] for values in without if name in values])
        made[prefix + name] = Figure(value=value, low=low, high=high, published=(published or {}).get(prefix + name))
    return made


def by_class(truth: Annotated, found: Sequence[Found], *, kind: str, recalls: int, detections: int) -> np.ndarray:
    """AP50 in percent of each class, NaN for one that no image holds, (classes,)."""
    given, guessed = _datasets(truth, found, kind)
    precision = _precision(given, guessed, kind, recalls, detections, np.arange(len(truth)))
    half = precision[0, :, :, 0]
    return np.array([100 * row[row > -1].mean() if (row > -1).any() else np.nan for row in half.T])


def _values(
    given: COCO, guessed: COCO, kind: str, recalls: int, detections: int, images: np.ndarray
) -> dict[str, float]:
    precision = _precision(given, guessed, kind, recalls, detections, images)
    parts = {"AP": precision[..., 0], "AP50": precision[0, ..., 0], "AP75": precision[5, ..., 0]}
    parts |= {f"AP {size}": precision[..., number] for number, size in enumerate(_SIZES, start=1)}
    return {name: 100 * float(part[part > -1].mean()) for name, part in parts.items() if (part > -1).any()}


def _precision(given: COCO, guessed: COCO, kind: str, recalls: int, detections: int, images: np.ndarray) -> np.ndarray:
    """(thresholds, recalls, classes, sizes of objects), -1 if there is no such object."""
    from faster_coco_eval import COCOeval_faster

    judge = COCOeval_faster(given, guessed, kind, print_function=_silent)
    judge.params.imgIds = images.tolist()
    judge.params.recThrs = np.linspace(0, 1, recalls)
    judge.params.maxDets = [detections]
    judge.evaluate()
    judge.accumulate()
    return np.asarray(judge.eval["precision"])[..., 0]


def _silent(*_: object) -> None:
    """In place of the library's print."""


def _datasets(truth: Annotated, found: Sequence[Found], kind: str) -> tuple[COCO, COCO]:
    """Both sides as the library holds them; an image's id is its index, a category's its label."""
    from faster_coco_eval import COCO

    about = {
        "images": [
            {"id": index, "height": int(height), "width": int(width)}
            for index, (height, width) in enumerate(truth.sizes.tolist())
        ],
        "categories": [{"id": label, "name": name} for label, name in enumerate(truth.classes)],
    }
    return COCO({**about, "annotations": _truth(truth)}), COCO({**about, "annotations": _found(found, kind)})


def _truth(truth: Annotated) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for image, objects in enumerate(truth.objects):
        for row in range(len(objects)):
            # Out of the range of areas it counts neither found nor missed; a crowd's overlap is another measure.
            area = 2 * _LARGEST if objects.difficult[row] else float(objects.areas[row])
            rows.append(
                _annotation(len(rows), image, int(objects.labels[row]), objects.boxes[row], area)
                | {"iscrowd": int(objects.crowd[row])}
                | ({"segmentation": objects.masks[row]} if objects.masks is not None else {})
            )
    return rows


def _found(found: Sequence[Found], kind: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for image, one in enumerate(found):
        for row in range(len(one.boxes)):
            left, top, right, bottom = one.boxes[row].tolist()
            area = float((right - left) * (bottom - top))
            made = _annotation(len(rows), image, int(one.labels[row]), one.boxes[row], area)
            made["score"] = float(one.scores[row])
            if kind == MASKS:
                assert one.masks is not None
                made["segmentation"] = one.masks[row]
                made["area"] = codes.area(one.masks[row])
            rows.append(made)
    return rows


def _annotation(number: int, image: int, label: int, box: np.ndarray, area: float) -> dict[str, Any]:
    left, top, right, bottom = box.tolist()
    # The library takes an id of 0 for "not matched".
    return {
        "id": number + 1,
        "image_id": image,
        "category_id": label,
        "bbox": [left, top, right - left, bottom - top],
        "area": area,
        "iscrowd": 0,
    }


def _groups(images: int) -> list[np.ndarray]:
    """The images but one group, for each group; none if there are too few for groups."""
    if images < 2 * _GROUPS:
        return []
    group = np.random.default_rng(0).permutation(np.arange(images) % _GROUPS)
    return [np.flatnonzero(group != left_out) for left_out in range(_GROUPS)]


def _interval(value: float, without: Sequence[float]) -> tuple[float | None, float | None]:
    """95% by the jackknife over groups of images (Tukey, 1958): precision is no mean over images to resample."""
    if not without:
        return None, None
    spread = np.var(without) * (len(without) - 1)
    half = _Z * float(np.sqrt(spread))
    return max(0.0, value - half), min(100.0, value + half)
