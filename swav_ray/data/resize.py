"""Crop and resize in one go: antialiased bilinear, as PIL's `resize` does it, over the pixels of the crop only.

Both passes run over long contiguous lines, and the layout does the rest. The vertical pass mixes rows of the image
(lanes: x and channel). Its result is transposed, so that the horizontal pass mixes rows again (lanes: channel and y),
and leaves the crop as `planes`: [x][channel][y], each line a whole column of one channel, which is what colour and
blur want. `write_crop` transposes it once more, into the [y][x][channel] that the model is fed.

Shapes: S side of the crop, L = S rounded up to whole tiles of 16 (the length of a line; what is past S is padding).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from swav_ray.data.transpose import TILE, transpose
from swav_ray.data.weighted_rows import quantize, weighted_rows


@njit(nogil=True)
def padded(length: int) -> int:
    """`length` rounded up to whole tiles."""
    return (length + TILE - 1) // TILE * TILE


@njit(nogil=True)
def bilinear_taps(start: float, extent: float, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which source pixels make each of `size` output pixels that share source pixels start ... start + extent.

    The filter is the triangle of PIL's bilinear: one source pixel to each side, or one output pixel where that is
    wider. Nothing outside the crop is looked at. Returns first (S,) int64, counts (S,) int64, weights (S, K) uint16.
    """
    scale = extent / size
    support = max(scale, 1.0)
    lowest, highest = math.floor(start), math.ceil(start + extent)
    first, counts = np.empty(size, np.int64), np.empty(size, np.int64)
    weights = np.zeros((size, math.ceil(support) * 2 + 2), np.uint16)
    exact = np.empty(weights.shape[1])
    for i in range(size):
        center = start + (i + 0.5) * scale
        low = max(lowest, math.floor(center - support + 0.5))
        high = min(highest, math.floor(center + support + 0.5))
        while high - low > 1 and 1.0 - abs(low + 0.5 - center) / support <= 1e-6:
            low += 1
        while high - low > 1 and 1.0 - abs(high - 0.5 - center) / support <= 1e-6:
            high -= 1
        for k in range(high - low):
            exact[k] = max(1.0 - abs(low + k + 0.5 - center) / support, 1e-9)
        quantize(exact, high - low, weights[i])
        first[i], counts[i] = low, high - low
    return first, counts, weights


@njit(nogil=True)
def resize_crop(image: np.ndarray, box: tuple[float, float, float, float], flip: bool, size: int) -> np.ndarray:
    """The crop `box` (top, left, height, width, in pixels of `image`, fractions allowed), resized to size x size.

    image: (H, W, 3) uint8. Returns planes: flat uint8 of S * 3 * L, as [x][channel][y]; mirrored where `flip`.
    """
    top, left, height, width = box
    line = padded(size)
    turned, column = _shrink_rows(image, top, height, left, width, size)
    first, counts, weights = bilinear_taps(left, width, size)
    planes = np.empty(padded(size * 3) * line, np.uint8)
    for x in range(size):
        at = (size - 1 - x if flip else x) * 3 * line
        source = (first[x] - column) * 3 * line
        weighted_rows(turned, source, 3 * line, weights[x], counts[x], planes, at, 3 * line)
    return planes


@njit(nogil=True)
def _shrink_rows(
    image: np.ndarray, top: float, height: float, left: float, width: float, size: int
) -> tuple[np.ndarray, int]:
    """The vertical pass and its transpose: (flat uint8 as [x][channel][y] for the crop's own columns, first column)."""
    pixels = image.reshape(-1)
    pitch = image.shape[1] * 3
    column = math.floor(left)
    lanes = (math.ceil(left + width) - column) * 3
    first, counts, weights = bilinear_taps(top, height, size)
    line, stride = padded(size), padded(lanes)
    strip = np.empty(TILE * stride, np.uint8)
    turned = np.empty(stride * line, np.uint8)
    for y in range(0, size, TILE):
        for i in range(min(TILE, size - y)):
            at = first[y + i] * pitch + column * 3
            weighted_rows(pixels, at, pitch, weights[y + i], counts[y + i], strip, i * stride, lanes)
        transpose(strip, 0, stride, TILE, stride, turned, y, line)
    return turned, column


@njit(nogil=True)
def write_crop(planes: np.ndarray, size: int, out: np.ndarray) -> None:
    """planes [x][channel][y] to out (S, S, 3) uint8, C-contiguous."""
    line, rows = padded(size), padded(size * 3)
    pixels = out.reshape(-1)
    if line == size:
        transpose(planes, 0, line, rows, line, pixels, 0, size * 3)
        return
    whole = np.empty(line * rows, np.uint8)
    transpose(planes, 0, line, rows, line, whole, 0, rows)
    for y in range(size):
        pixels[y * size * 3 : (y + 1) * size * 3] = whole[y * rows : y * rows + size * 3]
