"""This package's own weights: a run directory, one of its checkpoints, or a model file by itself."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from swav_ray import settings
from swav_ray.config import Config
from swav_ray.run import checkpoint_files, layout
from swav_ray.run.about import About
from swav_ray.run.checkpoint_files import BadCheckpoint
from swav_ray.run.scores import knn_scores
from swav_ray.storage.place import Place
from swav_ray.weights.read import WeightsError

WHICH = ("newest", "best")


def find(where: Place, which: str) -> tuple[Place, bytes, About]:
    """The file of weights that a place stands for, its bytes, and what its run says of it, nothing for other people's.

    Args:
        where: a run directory, a checkpoint's folder, or a file.
        which: of a run's checkpoints: "newest", or "best" by kNN accuracy.

    Raises:
        WeightsError: `which` is neither, there is no checkpoint, or a checkpoint is damaged.
    """
    if which not in WHICH:
        raise WeightsError(f"which = {which!r}: must be one of {', '.join(WHICH)}")
    if (where / layout.CONFIG).exists():
        run_dir, folder = where, _checkpoint(where, which)
    elif (where / layout.CHECKPOINT_MANIFEST).exists():
        run_dir, folder = where.parent.parent, where
    elif where.is_file():
        return where, where.read_bytes(), About()
    else:
        raise WeightsError(f"{where}: holds no weights; give a run directory, a checkpoint, or a file of weights")
    try:
        files = checkpoint_files.read(folder)
    except BadCheckpoint as error:
        raise WeightsError(f"{error}; give another of the run's checkpoints") from None
    about = _about(run_dir, json.loads(files[layout.META]))
    return folder / layout.MODEL, files[layout.MODEL], about


def _checkpoint(run_dir: Place, which: str) -> Place:
    steps = checkpoint_files.steps(run_dir)
    if not steps:
        raise WeightsError(f"{run_dir}: this run has no checkpoint yet")
    if which == "newest":
        return layout.checkpoint_folder(run_dir, steps[-1])
    scores = knn_scores(run_dir, steps)
    if not scores:
        raise WeightsError(f"{run_dir}: none of its checkpoints has a kNN accuracy (checkpoint.keep_best); use newest")
    return layout.checkpoint_folder(run_dir, max(scores, key=lambda step: scores[step]))


def _about(run_dir: Place, meta: dict[str, Any]) -> About:
    """What a run's config and a checkpoint's meta.json say; a checkpoint that was copied elsewhere has no config."""
    progress = {"step": meta["step"], "samples_seen": meta["samples_seen"]}
    file = run_dir / layout.CONFIG
    if not file.exists():
        return About(**progress)
    config = settings.from_file(file.uri, Config())
    return About(
        run=config.run.name,
        image_size=config.eval.image_size,
        samples=(run_dir / layout.MANIFEST).uri,
        held_out=(run_dir / layout.HELD_OUT).uri if (run_dir / layout.HELD_OUT).exists() else "",
        config=dataclasses.asdict(config),
        **progress,
    )
