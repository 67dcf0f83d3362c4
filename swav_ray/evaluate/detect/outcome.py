"""What a trained detector says: figures, and a picture of what it found beside what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from swav_ray.evaluate.detect import precision
from swav_ray.evaluate.detect.annotations import EXAMPLES, Annotated
from swav_ray.evaluate.detect.detector import Found
from swav_ray.evaluate.detect.settings import Settings
from swav_ray.evaluate.results.judged import Judged
from swav_ray.evaluate.results.protocol import Figure


def finished(
    val: Annotated, found: Sequence[Found], settings: Settings, published: Mapping[str, float], masks: bool
) -> dict[str, Any]:
    """Figures of boxes and perhaps masks as JSON, and AP50 by class.

    Args:
        found: in each image of `val`.
    """
    kinds = {"box " if masks else "": precision.BOXES} | ({"mask ": precision.MASKS} if masks else {})
    figures: dict[str, Figure] = {}
    for prefix, kind in kinds.items():
        figures |= precision.figures(
            val,
            found,
            kind=kind,
            recalls=settings.recalls,
            detections=settings.detections,
            prefix=prefix,
            published=published,
        )
    classes = precision.by_class(
        val, found, kind=precision.BOXES, recalls=settings.recalls, detections=settings.detections
    )
    named = zip(val.classes, classes.tolist(), strict=True)
    return {
        "figures": {name: asdict(figure) for name, figure in figures.items()},
        "AP50 by class": {name: value for name, value in named if not np.isnan(value)},
    }


def as_json(found: Found) -> dict[str, Any]:
    """What was found in one image."""
    masks = None
    if found.masks is not None:
        masks = [{"size": list(mask["size"]), "counts": mask["counts"].decode()} for mask in found.masks]
    return {
        "boxes": found.boxes.tolist(),
        "scores": found.scores.tolist(),
        "labels": found.labels.tolist(),
        "masks": masks,
    }


def of_json(document: Mapping[str, Any]) -> Found:
    """What `as_json` gave."""
    masks = document["masks"]
    return Found(
        boxes=np.array(document["boxes"], np.float32).reshape(-1, 4),
        scores=np.array(document["scores"], np.float32),
        labels=np.array(document["labels"], np.int64),
        masks=None if masks is None else [{**mask, "counts": mask["counts"].encode()} for mask in masks],
    )


def judged(finished: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], val: Annotated, title: str) -> Judged:
    """What an evaluation says.

    Args:
        finished: from `Detect.finish`. rows: of the loss, see `picture.picture`.
    """
    from swav_ray.evaluate.detect.picture import picture  # matplotlib takes a second to import

    figures = {name: Figure(**figure) for name, figure in finished["figures"].items()}
    notes = []
    if unreadable := finished["unreadable"]:
        some = "; ".join(f"{name}: {why}" for name, why in list(unreadable.items())[:EXAMPLES])
        notes.append(f"{len(unreadable)} images of {val.source} cannot be read and are left out: {some}")
    found = {int(index): of_json(one) for index, one in finished["found"].items()}
    first = next(iter(figures))
    # AP50 is what people read first off a small set.
    half = next((name for name in figures if name.endswith("AP50")), first)
    return Judged(
        figures=figures,
        picture=picture(val, found, rows, f"{title}: {half} {figures[half].text()}"),
        notes=notes,
    )
