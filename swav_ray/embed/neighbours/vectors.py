"""Embeddings as vectors of unit length."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from swav_ray.embed.output import Output


def unit(vectors: np.ndarray) -> np.ndarray:
    """(N, D) float32 of unit length; a vector of zeros stays one."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)


def sample(output: Output, most: int) -> np.ndarray:
    """(at most `most`, D) float32 of unit length, spread evenly over the images."""
    step = max(1, -(-output.images // most))
    parts = []
    for table in output.blocks(["sample_id", "embedding"]):
        chosen = table.filter(pa.array(table["sample_id"].to_numpy() % step == 0))
        parts.append(unit(output.vectors(chosen)))
    return np.concatenate(parts)
