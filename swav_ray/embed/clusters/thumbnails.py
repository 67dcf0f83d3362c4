"""Small pictures of some of the embedded images."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
from PIL import Image

from swav_ray.data.crops.center_crop import center_crop
from swav_ray.data.decoding.decode import UnreadableImage, decode
from swav_ray.data.sources import read_samples
from swav_ray.embed.output import Output


def thumbnails(output: Output, sample_ids: Iterable[int], side: int) -> dict[int, np.ndarray]:
    """(side, side, 3) uint8 of each image that can still be read, by sample id."""
    wanted = np.unique(np.fromiter(sample_ids, np.int64))
    rows = output.how.part_rows
    found: dict[int, np.ndarray] = {}
    for part in np.unique(wanted // rows).tolist():
        ids = wanted[wanted // rows == part]
        manifest = output.manifest(part)
        for sample_id, sample in zip(ids.tolist(), read_samples(manifest, ids - part * rows), strict=True):
            if isinstance(sample, Exception):
                continue
            try:
                found[sample_id] = center_crop(decode(sample, manifest.decoding), side)
            except UnreadableImage:
                continue
    return found


def jpeg(pixels: np.ndarray) -> bytes:
    """A small JPEG file."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG", quality=80)
    return sink.getvalue()
