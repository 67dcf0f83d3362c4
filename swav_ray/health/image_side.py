"""How large the images of a data set are, from a few of them."""

from __future__ import annotations

import numpy as np

from swav_ray.data.decoding.decode import UnreadableImage, decode
from swav_ray.data.holdout import evenly
from swav_ray.data.manifest import Manifest
from swav_ray.data.order.selected_ids import Ids
from swav_ray.data.sources import read_samples

_IMAGES = 16


def median_side(manifest: Manifest, ids: Ids) -> int:
    """Median of the shorter sides, in pixels, of at most 16 of the images, spread evenly; 0 if none can be read."""
    sides = []
    for data in read_samples(manifest, evenly(ids, _IMAGES)):
        if isinstance(data, Exception):
            continue
        try:
            sides.append(min(decode(data, manifest.decoding).shape[:2]))
        except UnreadableImage:
            continue
    return int(np.median(sides)) if sides else 0
