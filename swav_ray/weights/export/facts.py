"""What a run directory says of weights that are exported: how they were trained, and what figures they have."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from swav_ray import settings
from swav_ray.config import Config
from swav_ray.run import layout
from swav_ray.storage.place import Place, place
from swav_ray.weights import hub
from swav_ray.weights.backbone import Backbone
from swav_ray.weights.export.figures import Row, rows_of


@dataclass(frozen=True)
class Facts:
    """What is known.

    Attributes:
        config: of the run; None for other people's weights.
        images: that it trained on; 0: not known.
        epochs: that these weights have seen; 0: not known.
        knn_top1: percent, by name, as the run's summary has it; empty if these are not its last weights.
        figures: of every evaluation of exactly these weights, as `figures.rows_of` gives them.
    """

    config: Config | None
    images: int
    epochs: float
    knn_top1: dict[str, float]
    figures: list[Row]


def facts_of(backbone: Backbone) -> Facts:
    """What the header of a backbone's file and the run that it lies in say of it."""
    origin = backbone.origin
    about = origin.about
    config = settings.from_document(about.config, Config(), origin.place) if about.config else None
    if origin.place.startswith(hub.SCHEME):
        return Facts(config, 0, about.epochs, {}, [])
    run_dir = place(origin.place).parent.parent.parent  # of RUN/checkpoints/step-.../model.safetensors
    if not (run_dir / layout.CONFIG).exists():
        return Facts(config, 0, about.epochs, {}, [])
    config = settings.from_file((run_dir / layout.CONFIG).uri, Config())
    summary = _summary(run_dir / layout.SUMMARY)
    steps = summary.get("steps", 0)
    epochs = about.epochs or (summary["epochs"] * about.step / steps if steps else 0.0)
    knn = summary.get("knn_top1", {}) if about.step == steps else {}
    return Facts(config, summary.get("images", 0), epochs, knn, list(rows_of(run_dir, origin.sha256)))


def _summary(file: Place) -> dict[str, Any]:
    """What a run wrote when it ended; empty if it has not, or if the file is damaged."""
    try:
        found = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
