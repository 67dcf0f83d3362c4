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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _run(
    planes: np.ndarray, size: int, color: np.ndarray, start: int, stop: int, mean: np.float32, measure: bool
) -> np.float32:
    """Operations start ... stop - 1 of the order on every line; returns the mean grey after them, if asked."""
    length = padded(size)
    lines = np.empty((3, length), np.float32)
    red, green, blue = lines[0], lines[1], lines[2]
    total = 0
    for x in range(size):
        row = planes[x * 3 * length : (x + 1) * 3 * length].reshape(3, length)
        for c in range(3):
            _load(row[c], lines[c])
        for k in range(start, stop):
            operation = color[ORDER + k]
            if operation == BRIGHTNESS:
                for c in range(3):
                    _blend(lines[c], ZERO, color[FACTOR])
            elif operation == CONTRAST:
                for c in range(3):
                    _blend(lines[c], mean, color[FACTOR + CONTRAST])
            elif operation == SATURATION:
                _saturate(red, green, blue, color[FACTOR + SATURATION])
            elif operation == HUE:
                _turn_hue(red, green, blue, color[HUE_SHIFT])
        if measure:
            total += _sum_grey(red[:size], green[:size], blue[:size])
        if not measure and color[GREY] != ZERO:
            _saturate(red, green, blue, ZERO)
        if not measure or stop > start:
            for c in range(3):
                _store(lines[c], row[c])
    return F(int(total / (size * size) + 0.5))


@njit(cache=True, nogil=True)
def _load(source: np.ndarray, line: np.ndarray) -> None:
    for i in range(source.size):
        line[i] = F(source[i])


@njit(cache=True, nogil=True)
def _store(line: np.ndarray, target: np.ndarray) -> None:
    for i in range(target.size):
        target[i] = np.uint8(np.int32(line[i]))


@njit(cache=True, nogil=True, inline="always")
def _cut(value: np.float32) -> np.float32:
    value = value if value > ZERO else ZERO
    value = value if value < TOP else TOP
    return F(np.int32(value))


@njit(cache=True, nogil=True, inline="always")
def _luma(red: np.float32, green: np.float32, blue: np.float32) -> np.float32:
    return F(np.int32((red * RED + green * GREEN + blue * BLUE + ROUND) * UNIT))


@njit(cache=True, nogil=True)
def _blend(line: np.ndarray, base: np.float32, factor: np.float32) -> None:
    for i in range(line.size):
        line[i] = _cut(base + factor * (line[i] - base))


@njit(cache=True, nogil=True)
def _saturate(red: np.ndarray, green: np.ndarray, blue: np.ndarray, factor: np.float32) -> None:
    for i in range(red.size):
        grey = _luma(red[i], green[i], blue[i])
        red[i] = _cut(grey + factor * (red[i] - grey))
        green[i] = _cut(grey + factor * (green[i] - grey))
        blue[i] = _cut(grey + factor * (blue[i] - grey))


@njit(cache=True, nogil=True)
def _sum_grey(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> int:
    total = 0
    for i in range(red.size):
        total += int(_luma(red[i], green[i], blue[i]))
    return total


@njit(cache=True, nogil=True, inline="always")
def _channel(value: np.float32, depth: np.float32, place: np.float32) -> np.float32:
    """One channel of HSV to RGB: `place` is the hue in sixths of a circle, turned so that 4 ... 6 is full `value`."""
    place = place - F(6) if place >= F(6) else place
    ramp = F(4) - place if place > F(2) else place
    ramp = ramp if ramp > ZERO else ZERO
    ramp = ramp if ramp < ONE else ONE
    return F(np.int32(value - depth * ramp + HALF))


@njit(cache=True, nogil=True)
def _turn_hue(red: np.ndarray, green: np.ndarray, blue: np.ndarray, shift: np.float32) -> None:
    for i in range(red.size):
        r, g, b = red[i], green[i], blue[i]
        high = r if r > g else g
        high = high if high > b else b
        low = r if r < g else g
        low = low if low < b else b
        chroma = high - low
        safe = chroma if chroma > ONE else ONE
        sixth = F(4) * safe + (r - g)
        sixth = F(2) * safe + (b - r) if g == high else sixth
        sixth = g - b if r == high else sixth
        sixth = sixth + F(6) * safe if sixth < ZERO else sixth
        hue = F(np.int32(sixth * F(42.5) / safe)) + shift
        hue = hue - F(256) if hue >= F(256) else hue
        hue = hue * F(6 / 255)
        bright = high if high > ONE else ONE
        depth = high * F(np.int32(chroma * TOP / bright)) * F(1 / 255)
        red[i] = _channel(high, depth, hue + F(5))
        green[i] = _channel(high, depth, hue + F(3))
        blue[i] = _channel(high, depth, hue + F(1))
