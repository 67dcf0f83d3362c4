"""What was found survives JSON, and a result says it in figures, a picture and notes."""

from __future__ import annotations

import json

import numpy as np

from swav_ray.evaluate.detect.annotations import Annotated
from swav_ray.evaluate.detect.detector import Found
from swav_ray.evaluate.detect.outcome import as_json, finished, judged, of_json
from swav_ray.evaluate.detect.settings import COCO_1X, PUBLISHED


def found_in(val: Annotated) -> list[Found]:
    """Everything that is there."""
    return [Found(one.boxes, np.ones(len(one), np.float32), one.labels, one.masks) for one in val.objects]


def test_what_was_found_survives_json(val: Annotated) -> None:
    found = found_in(val)[0]
    again = of_json(json.loads(json.dumps(as_json(found))))
    assert np.array_equal(again.boxes, found.boxes)
    assert np.array_equal(again.labels, found.labels)
    assert again.masks == found.masks


def test_a_result_has_both_kinds_of_figures_classes_a_picture_and_what_was_unreadable(val: Annotated) -> None:
    found = found_in(val)
    end = finished(val, found, PUBLISHED[COCO_1X], {"box AP": 41.6}, masks=True)
    assert end["AP50 by class"] == dict.fromkeys(val.classes, 100.0)
    end |= {"found": {"1": as_json(found[1])}, "unreadable": {"a.jpg": "is cut short"}}
    said = judged(
        json.loads(json.dumps(end)), [{"iterations": 5, "loss": 1.0}, {"iterations": 9, "loss": None}], val, "a"
    )
    assert said.figures["box AP"].value == said.figures["mask AP50"].value == 100
    assert said.figures["box AP"].published == 41.6
    assert said.picture.startswith(b"\x89PNG")
    assert said.notes == [f"1 images of {val.source} cannot be read and are left out: a.jpg: is cut short"]
