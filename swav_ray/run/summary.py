"""summary.json: what a finished run learned, and what its time went into."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from swav_ray.run.goodput import goodput
from swav_ray.run.history import read_history
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import Place


def summarize(
    run_dir: Place,
    *,
    epochs: int,
    steps_per_epoch: int,
    images: int,
    dropped_per_epoch: int,
    prototypes: Sequence[int],
    bad_images: int,
    refused_steps: int,
    knn_top1: dict[str, float],
    why_no_knn: str,
    held_out_images: int,
    held_out_unreadable: int,
    held_out_twins: int,
    knn_queries: int,
    knn_untrained: Sequence[float],
    verdict: dict[str, Any],
) -> dict[str, Any]:
    """The summary of a finished run. Figures of its steps are None for a trial that began with another one's last step.

    Args:
        images: that it trained on. dropped_per_epoch: of them, in no step of an epoch.
        prototypes: of each head.
        bad_images, refused_steps: of the whole run.
        knn_top1: percent, by name; empty if there was nothing to measure. why_no_knn: although images are held out.
        knn_queries: images that it was measured on. knn_untrained: percent, of untrained networks beside the first.
        held_out_images: that kNN was to classify. held_out_unreadable: of them, left out.
        held_out_twins: test images that kNN left out since a training image is byte-identical.
        verdict: `health`, `word`, `line`, `remedy` and `noise`, see `health.verdict.Verdict`.
    """
    records = read_metrics(run_dir)
    losses = [record["loss"] for record in records[-steps_per_epoch:] if record["loss"] is not None]
    return {
        "steps": epochs * steps_per_epoch,
        "epochs": epochs,
        "images": images,
        "dropped_per_epoch": dropped_per_epoch,
        "loss_first": records[0]["loss"] if records else None,
        "loss_last_epoch": float(np.mean(losses)) if losses else None,
        "ln_k": float(np.mean(np.log(prototypes))),
        "images_per_second": float(np.median([record["images_per_second"] for record in records])) if records else None,
        "data_wait": float(np.mean([record["data_wait"] for record in records])) if records else None,
        "bad_images": bad_images,
        "refused_steps": refused_steps,
        "seconds": goodput(records, read_history(run_dir), now=time.time()),
        "knn_top1": knn_top1,
        "why_no_knn": why_no_knn,
        "held_out_images": held_out_images,
        "held_out_unreadable": held_out_unreadable,
        "held_out_twins": held_out_twins,
        "knn_queries": knn_queries,
        "knn_untrained": list(knn_untrained),
        "verdict": verdict,
    }
