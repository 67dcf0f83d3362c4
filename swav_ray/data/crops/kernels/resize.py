"""Crop and resize in one go: antialiased bilinear, as PIL's `resize` does it, over the pixels of the crop only.

Both passes run over long contiguous lines, and the layout does the rest. The vertical pass mixes rows of the image
(lanes: x and channel). Its result is transposed, so that the horizontal pass mixes rows again (lanes: channel and y),
and leaves the crop as `planes`: `[x][channel][y]`, each line a whole column of one channel, which is what colour and
blur want. `write_crop` transposes it once more, into the `[y][x][channel]` that the model is fed.

Shapes: S side of the crop, L = S rounded up to whole tiles of 16 (the length of a line; what is past S is padding).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from swav_ray.data.crops.kernels.transpose import LINE, TILE, fetch, transpose
from swav_ray.data.crops.kernels.weighted_rows import quantize, weighted_rows


@njit(nogil=True)
def padded(length: int) -> int:
    """`length` rounded up to whole tiles."""
    return (length + TILE - 1) // TILE * TILE


@njit(nogil=True)
def bilinear_taps(start: float, extent: float, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Which source pixels make each of `size` output pixels that are made of source pixels start ... start + extent.

    The filter is the triangle of PIL's bilinear: one source pixel to each side, or one output pixel if that is
    wider. Nothing outside the crop is read. Returns first (S,) int64, counts (S,) int64, weights
    (S * K,) uint8, K.
    """
    scale = extent / size
    support = max(scale, 1.0)
    slope = 1.0 / support
    lowest, highest = math.floor(start), math.ceil(start + extent)
    first, counts = np.empty(size, np.int64), np.empty(size, np.int64)
    taps = math.ceil(support) * 2 + 1
    offset, total, sums = np.empty(size), np.zeros(size), np.empty(taps * size)
    weights = np.empty(size * (taps + 1), np.uint8)
    for i in range(size):
        center = start + (i + 0.5) * scale
        low = max(lowest, math.floor(center - support + 0.5))
        first[i], counts[i] = low, min(highest, math.floor(center + support + 0.5)) - low
        offset[i] = low + 0.5 - center
    # Tap by tap over all pixels runs in vectors; pixel by pixel, the processor guesses wrong how many taps there are.
    for k in range(taps):
        for i in range(size):
            weight = 1.0 - abs(offset[i] + k) * slope
            total[i] += weight if weight > 0.0 else 0.0
            sums[k * size + i] = total[i]
    for i in range(size):
        skipped, counts[i] = quantize(sums, i, size, counts[i], weights, i * (taps + 1))
        first[i] += skipped
    return first, counts, weights, taps + 1


@njit(nogil=True)
def resize_crop(
    image: np.ndarray, box: tuple[float, float, float, float], flip: bool, size: int, out: np.ndarray
) -> np.ndarray:
    """The crop `box` (top, left, height, width, in pixels of `image`, fractions allowed), resized to size x size.

    image: (H, W, 3) uint8, with the box inside. out: (S, S, 3) uint8, which `write_crop` will fill; its memory is
    fetched meanwhile. Returns planes: flat uint8 of S * 3 * L, as `[x][channel][y]`; mirrored if `flip`.
    """
    top, left, height, width = box
    line = padded(size)
    turned, column = _shrink_rows(image, top, height, left, width, size)
    first, counts, weights, taps = bilinear_taps(left, width, size)
    planes, target = np.empty(padded(size * 3) * line, np.uint8), out.reshape(-1)
    for x in range(size):
        fetch(target, x * size * 3, size * 3)  # type: ignore[call-arg]
        at = (size - 1 - x if flip else x) * 3 * line
        source = (first[x] - column) * 3 * line
        weighted_rows(turned, source, 3 * line, weights, x * taps, counts[x], planes, at, 3 * line)
    return planes


@njit(nogil=True)
def _shrink_rows(
    image: np.ndarray, top: float, height: float, left: float, width: float, size: int
) -> tuple[np.ndarray, int]:
    """The vertical pass and its transpose: flat uint8 as `[x][channel][y]` of the crop's own columns; the first one."""
    pixels = image.reshape(-1)
    pitch = image.shape[1] * 3
    column = math.floor(left)
    lanes = (math.ceil(left + width) - column) * 3
    first, counts, weights, taps = bilinear_taps(top, height, size)
    line, stride = padded(size), padded(lanes)
    strip = np.empty(LINE * stride, np.uint8)
    turned = np.empty(stride * line, np.uint8)
    for y in range(0, size, LINE):
        rows = min(LINE, size - y)
        for i in range(rows):
            at = first[y + i] * pitch + column * 3
            weighted_rows(pixels, at, pitch, weights, (y + i) * taps, counts[y + i], strip, i * stride, lanes)
        transpose(strip, 0, stride, padded(rows), stride, turned, y, line)
    return turned, column


@njit(nogil=True)
def write_crop(planes: np.ndarray, size: int, out: np.ndarray) -> None:
    """planes `[x][channel][y]` to out (S, S, 3) uint8, C-contiguous."""
    line, rows = padded(size), padded(size * 3)
    pixels = out.reshape(-1)
    if line == size:
        transpose(planes, 0, line, rows, line, pixels, 0, size * 3)
        return
    whole = np.empty(line * rows, np.uint8)
    transpose(planes, 0, line, rows, line, whole, 0, rows)
    for y in range(size):
        pixels[y * size * 3 : (y + 1) * size * 3] = whole[y * rows : y * rows + size * 3]
