"""Weighted kNN as the field reports it: DINO's four k and lightly's setting, from one pass over the similarities."""

from __future__ import annotations

import numpy as np
import torch

from swav_ray.evaluate.knn import knn_predictions
from swav_ray.evaluate.labelled import Labelled
from swav_ray.evaluate.protocol import Figure, Protocol, accuracy

PROTOCOL = Protocol(
    name="knn",
    version=1,
    settings={"similarity": "cosine", "settings": [[20, 0.07], [10, 0.07], [100, 0.07], [200, 0.07], [200, 0.1]]},
    source="Wu et al. 2018, section 3.4; k and temperature of DINO (Caron et al. 2021) and of lightly's benchmarks",
)
_PUBLISHED = {(20, 0.07): 65.7}  # DINO paper, table 2: the published 800-epoch weights on ImageNet
"""Figures of the published weights on ImageNet by k and temperature."""


def run(train: Labelled, val: Labelled, device: torch.device) -> tuple[dict[str, Figure], np.ndarray, list[str]]:
    """Accuracy for each setting.

    Returns:
        Figures by name; for the first of them whether each image of `val` was right, (images,) bool; notes.
    """
    figures: dict[str, Figure] = {}
    first, notes = np.empty(0, bool), []
    pairs = [(int(k), float(temperature)) for k, temperature in PROTOCOL.settings["settings"]]
    fits = [(k, temperature) for k, temperature in pairs if k <= len(train)]
    if len(fits) < len(pairs):
        left_out = sorted({k for k, _ in pairs if k > len(train)})
        notes.append(f"k = {', '.join(map(str, left_out))} left out: the train set has {len(train)} images")
    predictions = knn_predictions(
        torch.from_numpy(train.features).to(device),
        torch.from_numpy(train.labels).to(device),
        torch.from_numpy(val.features).to(device),
        fits or [(len(train), 0.07)],
    )
    for (k, temperature), predicted in predictions.items():
        correct = predicted.cpu().numpy() == val.labels
        figures[f"k {k}, T {temperature:g}"] = accuracy(correct, published=_PUBLISHED.get((k, temperature)))
        first = correct if not len(first) else first
    return figures, first, notes
