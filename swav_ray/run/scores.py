"""The kNN accuracy of a run's checkpoints, and how sure an accuracy is.

It is in meta.json if training waited for the measurement, else in measurements.jsonl, since the checkpoint came first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

from swav_ray.run import layout, measurements
from swav_ray.storage.place import Place


def standard_error(top1: float, images: int) -> float:
    """Of an accuracy in percent on so many images, in points: what another draw of as many images would change."""
    share = top1 / 100
    return 100 * math.sqrt(max(share * (1 - share), 0.0) / images) if images else 0.0


def knn_scores(run_dir: Place, steps: Iterable[int]) -> dict[int, float]:
    """Top-1 in percent of the checkpoints before `steps`, those left out that have none."""
    beside = {row["step"]: row.get("knn_top1") for row in measurements.read(run_dir)}
    scores = {}
    for step in steps:
        score = _in_meta(run_dir, step)
        if score is None:
            score = beside.get(step)
        if score is not None:
            scores[step] = score
    return scores


def _in_meta(run_dir: Place, step: int) -> float | None:
    try:
        meta = json.loads((layout.checkpoint_folder(run_dir, step) / layout.META).read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    score: float | None = meta.get("knn_top1")
    return score
