"""Multi-crop (paper section 3.3): one image's bytes to its crops, the same for the same (seed, epoch, sample_id).

The order of the work: read the header, draw every crop, decode no larger than the crops need, then resize,
colour and blur each crop (compiled, without the GIL). Knows nothing of torch, and of batches only the row it writes.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from swav_ray.config import AugmentConfig, CropsConfig
from swav_ray.data.crops.color_vector import COLOR_PARAMS
from swav_ray.data.crops.random_params import color_strengths, draw_crops, drawn_background
from swav_ray.data.crops.render import eighths_needed, render
from swav_ray.data.decoding.choices import Decoding
from swav_ray.data.decoding.decode import SourceImage

_DEFAULTS = Decoding()


class Decoded(NamedTuple):
    """What decoding one image took: seconds, and the pixels of the image at its full size."""

    seconds: float
    pixels: int


class MultiCrop:
    """Cuts, flips, colours and blurs the crops of one image.

    Crops are counted over the groups in order, so crop 0 is the first global crop. `color_params` is the length of a
    colour vector (color_vector.py says what is in it) if `augment.color_device` is "train", else None.
    The first call compiles, in about 15 s; later processes read the compiled code from disk.
    Safe to call from several threads.
    """

    def __init__(self, crops: CropsConfig, augment: AugmentConfig, seed: int) -> None:
        self.crops = crops
        self.augment = augment
        self.seed = seed
        self.color_params = COLOR_PARAMS if augment.color_device == "train" else None
        groups = list(zip(crops.counts, crops.sizes, crops.min_scales, crops.max_scales, strict=True))
        self._scales = np.array([(low, high) for count, _, low, high in groups for _ in range(count)], np.float64)
        self._sizes = np.array([size for count, size, _, _ in groups for _ in range(count)], np.int64)
        self._strengths = color_strengths(augment)

    def buffers(self, rows: int) -> list[np.ndarray]:
        """Empty crops of `rows` samples: for each group (count, rows, size, size, 3) uint8, crop-major."""
        groups = zip(self.crops.counts, self.crops.sizes, strict=True)
        return [np.empty((count, rows, size, size, 3), np.uint8) for count, size in groups]

    def draw(self, height: int, width: int, epoch: int, sample_id: int) -> tuple[np.ndarray, np.ndarray]:
        """The boxes (total crops, 5) int64 and colour vectors (total crops, COLOR_PARAMS) float32 of one image."""
        boxes = np.empty((len(self._scales), 5), np.int64)
        colors = np.empty((len(self._scales), COLOR_PARAMS), np.float32)
        identity = (self.seed, epoch, sample_id)
        flip = self.augment.flip_probability
        draw_crops(identity, height, width, self._scales, flip, self._strengths, boxes, colors)
        return boxes, colors

    def __call__(
        self,
        data: bytes | np.ndarray,
        epoch: int,
        sample_id: int,
        out: list[np.ndarray],
        row: int,
        color: np.ndarray | None = None,
        decoding: Decoding = _DEFAULTS,
    ) -> Decoded:
        """Write the crops of one image into row `row` of `out` (see `buffers`).

        data: an image file's bytes, or decoded pixels (see `decode`). With colour on the training device the crops are
        cut and flipped only, and their colour vectors go to `color` (total crops, rows, color_params) float32.
        `decoding` is what the data set asks for. Returns what decoding took.
        Raises UnreadableImage, and then leaves the row as it was.
        """
        began = time.perf_counter()
        source = SourceImage(data, decoding)
        opened = time.perf_counter()
        boxes, colors = self.draw(source.height, source.width, epoch, sample_id)
        eighths = eighths_needed(boxes, self._sizes)
        background = drawn_background((self.seed, epoch, sample_id)) if decoding.alpha == "random" else None
        drawn = time.perf_counter()
        pixels = source.pixels(eighths, background)
        decoded = Decoded(time.perf_counter() - drawn + opened - began, source.height * source.width)
        scale = eighths / 8 if pixels.shape[0] < source.height else 1.0
        on_cpu = self.color_params is None
        first = 0
        for crops in out:
            last = first + len(crops)
            render(pixels, scale, boxes[first:last], colors[first:last], on_cpu, crops, row)
            first = last
        if color is not None and not on_cpu:
            color[:, row] = colors
        return decoded
