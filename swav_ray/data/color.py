"""Colour jitter and greyscale of one crop, in PIL's 8-bit arithmetic, on [x][channel][y] planes (see resize.py).

Each operation leaves whole numbers 0 ... 255, cut (not rounded) as PIL's blend cuts them; hue goes through PIL's HSV of
8 bits each. A line is worked on in float32, 16 or 8 pixels an instruction, with no branch on a pixel's value. Contrast
needs the mean of the whole crop as the operations before it left it, and so splits the work in two passes.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from swav_ray.data.random_params import BRIGHTNESS, CONTRAST, FACTOR, GREY, HUE, HUE_SHIFT, NO_OP, ORDER, SATURATION
from swav_ray.data.resize import padded

F = np.float32
ZERO, ONE, HALF, TOP = F(0), F(1), F(0.5), F(255)
RED, GREEN, BLUE, ROUND, UNIT = F(19595), F(38470), F(7471), F(32768), F(1 / 65536)  # PIL's luma, exact in float32


@njit(nogil=True)
def jitter(planes: np.ndarray, size: int, color: np.ndarray) -> None:
    """Apply a colour vector's jitter and greyscale (random_params.py) to a crop in place.

    planes: flat uint8 as [x][channel][y]. color: (COLOR_PARAMS,) float32.
    """
    split = 0
    for k in range(4):
        if color[ORDER + k] == CONTRAST:
            split = k
    mean = ZERO
    if color[ORDER] != NO_OP:
        mean = _run(planes, size, color, 0, split, mean, True)
    elif color[GREY] == ZERO:
        return
    _run(planes, size, color, split, 4, mean, False)


@njit(nogil=True)
def _run(
    planes: np.ndarray, size: int, color: np.ndarray, start: int, stop: int, mean: np.float32, measure: bool
) -> np.float32:
    """Operations start ... stop - 1 of the order on every line; returns the mean grey after them, if asked."""
    length = padded(size)
    line = np.empty(3 * length, np.float32)
    red, green, blue = line[:length], line[length : 2 * length], line[2 * length :]
    total = 0.0
    for x in range(size):
        row = planes[x * 3 * length : (x + 1) * 3 * length]
        for i in range(row.size):
            line[i] = F(row[i])
        for k in range(start, stop):
            operation = color[ORDER + k]
            if operation == BRIGHTNESS:
                _blend(line, ZERO, color[FACTOR])
            elif operation == CONTRAST:
                _blend(line, mean, color[FACTOR + CONTRAST])
            elif operation == SATURATION:
                _saturate(red, green, blue, color[FACTOR + SATURATION])
            elif operation == HUE:
                _turn_hue(red, green, blue, color[HUE_SHIFT])
        if measure:
            total += float(_sum_grey(red[:size], green[:size], blue[:size]))
        elif color[GREY] != ZERO:
            _saturate(red, green, blue, ZERO)
        if stop > start or not measure:
            for i in range(row.size):
                row[i] = np.uint8(np.int32(line[i]))
    return F(int(total / (size * size) + 0.5))


@njit(nogil=True, inline="always")
def _cut(value: np.float32) -> np.float32:
    value = value if value > ZERO else ZERO
    value = value if value < TOP else TOP
    return F(np.int32(value))


@njit(nogil=True, inline="always")
def _luma(red: np.float32, green: np.float32, blue: np.float32) -> np.float32:
    return F(np.int32((red * RED + green * GREEN + blue * BLUE + ROUND) * UNIT))


@njit(nogil=True)
def _blend(line: np.ndarray, base: np.float32, factor: np.float32) -> None:
    for i in range(line.size):
        line[i] = _cut(base + factor * (line[i] - base))


@njit(nogil=True)
def _saturate(red: np.ndarray, green: np.ndarray, blue: np.ndarray, factor: np.float32) -> None:
    for i in range(red.size):
        grey = _luma(red[i], green[i], blue[i])
        red[i] = _cut(grey + factor * (red[i] - grey))
        green[i] = _cut(grey + factor * (green[i] - grey))
        blue[i] = _cut(grey + factor * (blue[i] - grey))


@njit(nogil=True, fastmath=True)
def _sum_grey(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.float32:
    """Sum of whole numbers below 2**24, exact in any order, so that the compiler may pick the fastest."""
    total = ZERO
    for i in range(red.size):
        total += _luma(red[i], green[i], blue[i])
    return total


@njit(nogil=True, inline="always")
def _unit(value: np.float32) -> np.float32:
    value = value if value > ZERO else ZERO
    return value if value < ONE else ONE


@njit(nogil=True)
def _turn_hue(red: np.ndarray, green: np.ndarray, blue: np.ndarray, shift: np.float32) -> None:
    """Shift the hue as PIL does: to HSV of 8 bits each, cut; `shift` in 1/256 of a circle; back to RGB, rounded."""
    for i in range(red.size):
        r, g, b = red[i], green[i], blue[i]
        high = r if r > g else g
        high = high if high > b else b
        low = r if r < g else g
        low = low if low < b else b
        chroma = high - low
        slope = b - r if g == high else r - g
        slope = g - b if r == high else slope
        corner = F(2) if g == high else F(4)
        corner = ZERO if r == high else corner
        sixths = slope / (chroma if chroma > ONE else ONE) + corner
        sixths = sixths + F(6) if sixths < ZERO else sixths
        hue = F(np.int32(sixths * F(42.5))) + shift
        hue = hue - F(256) if hue >= F(256) else hue
        hue = hue * F(6 / 255)
        depth = high * F(np.int32(chroma * TOP / (high if high > ONE else ONE))) * F(1 / 255)
        base = high - depth + HALF
        red[i] = F(np.int32(base + depth * _unit(abs(hue - F(3)) - ONE)))
        green[i] = F(np.int32(base + depth * _unit(F(2) - abs(hue - F(2)))))
        blue[i] = F(np.int32(base + depth * _unit(F(2) - abs(hue - F(4)))))
