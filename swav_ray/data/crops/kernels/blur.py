"""Gaussian blur of one crop as PIL blurs, on `[x][channel][y]` planes (see resize.py).

PIL's GaussianBlur is three box blurs of fractional width after one another (Gwosdek et al., 2011: "Theoretical
foundations of Gaussian convolution by extended box filtering"), so its kernel has few taps: three boxes folded
together are run here as one kernel, along x and then along y. Outermost taps lighter than half the least weight that
there is are dropped. Past the edge the border pixel repeats.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from swav_ray.data.crops.kernels.resize import padded
from swav_ray.data.crops.kernels.weighted_rows import quantize, weighted_rows

LIGHT = 1 / 256  # half of the least weight that there is (weighted_rows.py)


@njit(nogil=True)
def gaussian_taps(sigma: float) -> np.ndarray:
    """Weights of three box blurs whose variances add up to sigma squared: odd length, centred, adding up to 1."""
    variance = sigma * sigma / 3
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    edge = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    box = np.ones(2 * whole + 3)
    box[0] = box[-1] = edge
    box /= box.sum()
    taps = _convolve(_convolve(box, box), box)
    while taps.size > 1 and taps[0] < LIGHT:
        taps = taps[1:-1]
    return taps / taps.sum()


@njit(nogil=True)
def _convolve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """As np.convolve, which adds in another order on another processor, since it asks BLAS."""
    out = np.zeros(a.size + b.size - 1)
    for i in range(a.size):
        for j in range(b.size):
            out[i + j] += a[i] * b[j]
    return out


@njit(nogil=True)
def blur(planes: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """A blurred copy of a crop. planes: flat uint8 as `[x][channel][y]`; sigma in pixels.

    Each column is blurred across x into a line with room at its ends for the repeated border, and from there along y.
    """
    taps = gaussian_taps(sigma)
    if taps.size == 1:
        return planes
    half, length = taps.size // 2, padded(size)
    pitch = length + 2 * half
    out, line = np.empty_like(planes), np.empty(3 * pitch, np.uint8)
    weights, folded = np.empty(taps.size + 1, np.uint8), np.empty(taps.size + 1, np.uint8)
    skipped, count = quantize(np.cumsum(taps), 0, 1, taps.size, weights, 0)
    for x in range(size):
        first, some, across = x - half + skipped, count, weights
        if not half <= x < size - half:
            first, some = _fold(taps, x, size, folded)
            across = folded
        for channel in range(3):
            source, start = (first * 3 + channel) * length, channel * pitch + half
            weighted_rows(planes, source, 3 * length, across, 0, some, line, start, length)
            for i in range(half):
                line[start - 1 - i] = line[start]
                line[start + size + i] = line[start + size - 1]
            target = (x * 3 + channel) * length
            weighted_rows(line, start - half + skipped, 1, weights, 0, count, out, target, length)
    return out


@njit(nogil=True)
def _fold(taps: np.ndarray, x: int, size: int, folded: np.ndarray) -> tuple[int, int]:
    """Near an edge: taps that fall outside are added to the border's. Fills `folded`; returns (first pixel, count)."""
    half = taps.size // 2
    first, last = max(0, x - half), min(size - 1, x + half)
    exact = np.zeros(last - first + 1)
    for k in range(taps.size):
        exact[min(max(x - half + k, 0), size - 1) - first] += taps[k]
    skipped, count = quantize(np.cumsum(exact), 0, 1, exact.size, folded, 0)
    return first + skipped, count
