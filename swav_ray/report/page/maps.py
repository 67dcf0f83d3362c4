"""Features as points of a plane: the two directions of the greatest variance, and UMAP if it is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

_LEAST = 16  # images, below which UMAP's neighbourhoods are everything

Points = tuple[tuple[float, float], ...]


def has_umap() -> bool:
    """Whether UMAP is installed."""
    return importlib.util.find_spec("umap") is not None


def maps_of(features: np.ndarray, *, umap: bool) -> list[tuple[str, Points]]:
    """What each map is, in words, and a point within -1..1 for each of the features (N, D), as cosines see them.

    Args:
        umap: UMAP's map too, whose first one in a process takes ten seconds or more.
    """
    unit = np.nan_to_num(features.astype(np.float64))
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    centred = unit - unit.mean(axis=0)
    found = []
    if umap and len(unit) >= _LEAST:
        found.append(("UMAP of the features, which keeps neighbours together; distances mean little", _umap(unit)))
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    shown = sizes[:2] ** 2 / max(float((sizes**2).sum()), 1e-12)
    plane = np.zeros((len(unit), 2))
    plane[:, : min(2, len(sizes))] = left[:, :2] * sizes[:2]
    how = f"PCA of the features: the two directions of the greatest variance, {shown.sum():.0%} of it"
    return [*found, (how, _scaled(plane))]


def _umap(unit: np.ndarray) -> Points:
    import umap

    reducer: Any = umap.UMAP(metric="cosine", random_state=0, n_jobs=1, n_neighbors=min(15, len(unit) - 1))
    return _scaled(reducer.fit_transform(unit))


def _scaled(points: np.ndarray) -> Points:
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = 2 * (points - low) / np.maximum(high - low, 1e-12) - 1
    return tuple((round(float(x), 4), round(float(y), 4)) for x, y in scaled)
