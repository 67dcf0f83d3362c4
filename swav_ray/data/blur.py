"""Gaussian blur of one crop as PIL blurs, on [x][channel][y] planes (see resize.py).

PIL's GaussianBlur is three box blurs of fractional width after one another (Gwosdek et al., 2011: "Theoretical
foundations of Gaussian convolution by extended box filtering"), so its kernel has few taps: three boxes folded
together are run here as one kernel, along x and then along y. Outermost taps too light to move a pixel by half a
level are dropped. Past the edge the border pixel repeats.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from swav_ray.data.resize import padded
from swav_ray.data.weighted_rows import quantize, weighted_rows

LIGHT = 1 / 1024  # two such taps, one at each end, move a pixel by less than half a level of 255


@njit(cache=True, nogil=True)
def gaussian_taps(sigma: float) -> np.ndarray:
    """Weights of three box blurs whose variances add up to sigma squared: odd length, centred, adding up to 1."""
    variance = sigma * sigma / 3
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    edge = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    box = np.ones(2 * whole + 3)
    box[0] = box[-1] = edge
    box /= box.sum()
    taps = np.convolve(np.convolve(box, box), box)
    while taps.size > 1 and taps[0] < LIGHT:
        taps = taps[1:-1]
    return taps / taps.sum()


@njit(cache=True, nogil=True)
def blur(planes: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """A blurred copy of a crop. planes: flat uint8 as [x][channel][y]; sigma in pixels."""
    taps = gaussian_taps(sigma)
    if taps.size == 1:
        return planes
    length = padded(size)
    along_x = _blur_x(planes, size, length, taps)
    _blur_y(along_x, size, length, taps)
    return along_x


@njit(cache=True, nogil=True)
def _blur_x(planes: np.ndarray, size: int, length: int, taps: np.ndarray) -> np.ndarray:
    half = taps.size // 2
    row = 3 * length
    out = np.empty_like(planes)
    sums = np.empty(row, np.uint16)
    weights, folded, exact = np.empty(taps.size, np.uint16), np.empty(taps.size, np.uint16), np.empty(taps.size)
    quantize(taps, taps.size, weights)
    for x in range(size):
        target = out[x * row : (x + 1) * row]
        if half <= x < size - half:
            weighted_rows(planes, (x - half) * row, row, weights, taps.size, target, sums)
            continue
        first, last = max(0, x - half), min(size - 1, x + half)
        exact[: last - first + 1] = 0
        for k in range(taps.size):
            exact[min(max(x - half + k, 0), size - 1) - first] += taps[k]
        quantize(exact, last - first + 1, folded)
        weighted_rows(planes, first * row, row, folded, last - first + 1, target, sums)
    return out


@njit(cache=True, nogil=True)
def _blur_y(planes: np.ndarray, size: int, length: int, taps: np.ndarray) -> None:
    """In place: every line through a copy whose ends repeat."""
    half = taps.size // 2
    line, sums = np.empty(length + 2 * half, np.uint8), np.empty(size, np.uint16)
    weights = np.empty(taps.size, np.uint16)
    quantize(taps, taps.size, weights)
    for at in range(0, 3 * size * length, length):
        line[:half] = planes[at]
        line[half : half + size] = planes[at : at + size]
        line[half + size : half + size + half] = planes[at + size - 1]
        weighted_rows(line, 0, 1, weights, taps.size, planes[at : at + size], sums)
