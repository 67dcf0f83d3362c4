"""Colour jitter and greyscale of one crop, in PIL's 8-bit arithmetic, on `[x][channel][y]` planes (see resize.py).

Each operation leaves whole numbers 0 ... 255, cut (not rounded) as PIL's blend cuts them; hue goes through PIL's HSV of
8 bits each. Contrast needs the mean of the whole crop as the operations before it left it, and so splits the work in
two passes over the crop. Saturation, hue and greyscale leave grey as it is, to the bit, so a grey crop goes without.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from swav_ray.data.crops.color_vector import CONTRAST, FACTOR, GREY, HUE, HUE_SHIFT, NO_OP, ORDER, SATURATION
from swav_ray.data.crops.kernels.color_lanes import UNIT, color_lines
from swav_ray.data.crops.kernels.resize import padded

OPERATIONS = 5  # at most: the jitter's four, and greyscale


@njit(nogil=True)
def jitter(planes: np.ndarray, size: int, color: np.ndarray) -> None:
    """Apply a colour vector's jitter and greyscale (color_vector.py) to a crop in place.

    planes: flat uint8 as `[x][channel][y]`. color: (COLOR_PARAMS,) float32, its factors at most 2.
    """
    codes, factors = np.empty(OPERATIONS, np.int64), np.empty(OPERATIONS * 3, np.uint16)
    count, contrast, length = 0, -1, padded(size)
    grey = (color[ORDER] != NO_OP or color[GREY] != 0) and is_grey(planes, size, length)
    for k in range(4):
        code = int(color[ORDER + k])
        if code == NO_OP or (grey and code in (SATURATION, HUE)):
            continue
        if code == CONTRAST:
            contrast = count
        codes[count] = code
        if code == HUE:
            factors[3 * count] = int(color[HUE_SHIFT])
        else:
            _set_blend(factors[3 * count : 3 * count + 3], color[FACTOR + code])
        count += 1
    if color[GREY] != 0 and not grey:
        codes[count] = SATURATION
        _set_blend(factors[3 * count : 3 * count + 3], 0.0)
        count += 1
    mean = 0
    if contrast >= 0:
        total = color_lines(planes, size, length, codes, factors, 0, contrast, 0, True)
        mean = int(total / (size * size) + 0.5)
    color_lines(planes, size, length, codes, factors, max(contrast, 0), count, mean, False)


@njit(nogil=True)
def is_grey(planes: np.ndarray, size: int, length: int) -> bool:
    """Whether red, green and blue are equal everywhere; a crop with colours is known by its first column that has one.

    planes: flat uint8 as `[x][channel][y]`, lines of `length`, of which `size` pixels count.
    """
    # Unsigned places and 8-bit words, spelled out: the compiler then compares whole registers.
    for x in range(size):
        red = np.uint64(3 * x * length)
        green, blue = red + np.uint64(length), red + np.uint64(2 * length)
        differing = np.uint8(0)
        for y in range(size):
            at = np.uint64(y)
            one = np.uint8(planes[red + at] ^ planes[green + at])
            other = np.uint8(planes[red + at] ^ planes[blue + at])
            differing = np.uint8(differing | np.uint8(one | other))
        if differing:
            return False
    return True


@njit(nogil=True)
def _set_blend(factors: np.ndarray, factor: float) -> None:
    """The factor, its distance below 1 and its distance above 1, in 16 bits."""
    whole = min(int(factor * UNIT + 0.5), 2 * UNIT - 1)
    factors[0], factors[1], factors[2] = whole, max(UNIT - whole, 0), max(whole - UNIT, 0)
