"""Weighted kNN as the field reports it: DINO's four k and lightly's setting, from one pass over the similarities."""

from __future__ import annotations

import torch

from swav_ray.evaluate.knn import knn_predictions
from swav_ray.evaluate.results.judged import Given, Judged, of_labels
from swav_ray.evaluate.results.protocol import Protocol, accuracy

# The first is the one that is compared by.
_SETTINGS = ((20, 0.07), (10, 0.07), (100, 0.07), (200, 0.07), (200, 0.1))
PROTOCOL = Protocol(
    name="knn",
    version=1,
    settings={"similarity": "cosine", "k, temperature": [list(pair) for pair in _SETTINGS]},
    source="Wu et al. 2018, section 3.4; k and temperature of DINO (Caron et al. 2021) and of lightly's benchmarks",
)
_IMAGENET_CLASSES = 1000
_PUBLISHED = {(20, 0.07): 65.7}  # DINO paper, table 2: the published 800-epoch weights on ImageNet


def run(given: Given) -> Judged:
    """Top-1 accuracy for each k and temperature; k larger than the train split are left out and noted."""
    train, val, device = given.train, given.val, given.device
    fits = [pair for pair in _SETTINGS if pair[0] <= len(train)] or [(len(train), 0.07)]
    published = _PUBLISHED if len(train.classes) == _IMAGENET_CLASSES else {}
    left_out = sorted({k for k, _ in _SETTINGS if k > len(train)})
    predictions = knn_predictions(
        torch.from_numpy(train.features),  # may be larger than the device's memory
        torch.from_numpy(train.labels),
        torch.from_numpy(val.features).to(device),
        fits,
    )
    found = {pair: labels.cpu().numpy() for pair, labels in predictions.items()}
    figures = {
        f"top-1, k {k}, T {temperature:g}": accuracy(labels == val.labels, published=published.get((k, temperature)))
        for (k, temperature), labels in found.items()
    }
    named = ", ".join(map(str, left_out))
    notes = [f"k {named} left out: the train split has {len(train)} images"] if left_out else []
    return of_labels(given, PROTOCOL.name, figures, found[fits[0]], notes)
