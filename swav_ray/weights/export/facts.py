"""What a run directory says of weights that are exported: how they were trained, and what figures they have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from swav_ray import settings
from swav_ray.config import Config
from swav_ray.run import layout
from swav_ray.storage.place import Place, place
from swav_ray.weights.backbone import Backbone


@dataclass(frozen=True)
class Facts:
    """What is known.

    Attributes:
        config: of the run; None for other people's weights.
        images: that it trained on; 0: not known.
        epochs: that these weights have seen; 0: not known.
        knn_top1: percent, by name, as the run's summary has it; empty if these are not its last weights.
        results: `results.json` of every evaluation of exactly these weights.
    """

    config: Config | None
    images: int
    epochs: float
    knn_top1: dict[str, float]
    results: list[dict[str, Any]]


def facts_of(backbone: Backbone) -> Facts:
    """What the header of a backbone's file and the run that it lies in say of it."""
    origin = backbone.origin
    about, source = origin.about, place(origin.place)
    config = settings.from_document(about.config, Config(), origin.place) if about.config else None
    run_dir = source.parent.parent.parent  # of RUN/checkpoints/step-.../model.safetensors
    if not (run_dir / layout.CONFIG).exists():
        return Facts(config, 0, about.epochs, {}, [])
    text = (run_dir / layout.CONFIG).read_bytes().decode()
    config = settings.from_yaml(text, Config(), str(run_dir / layout.CONFIG))
    summary = json.loads((run_dir / layout.SUMMARY).read_bytes()) if (run_dir / layout.SUMMARY).exists() else {}
    steps = summary.get("steps", 0)
    epochs = about.epochs or (summary["epochs"] * about.step / steps if steps else 0.0)
    knn = summary.get("knn_top1", {}) if about.step == steps else {}
    return Facts(config, summary.get("images", 0), epochs, knn, list(_results(run_dir, origin.sha256)))


def _results(run_dir: Place, sha256: str) -> Iterator[dict[str, Any]]:
    evaluations = run_dir / layout.EVALUATIONS
    for entry in sorted(evaluations.list()):
        if entry.name.rpartition("/")[2] != layout.RESULTS:
            continue
        document = json.loads((evaluations / entry.name).read_bytes())
        if document.get("weights") == sha256:
            yield document
