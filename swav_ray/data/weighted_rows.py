"""The inner loop of resizing and blurring: weighted sums of byte rows, many pixels an instruction.

Weights are 16-bit fractions of 65536 that add up to at most 65535. A product of a byte and such a weight is formed as
two 16-bit products (upper and lower byte of the weight), so that everything stays in 16-bit lanes, which is what the
compiler turns into the widest SIMD there is (AVX2 and AVX-512 run at nearly the same speed). The error is below
1/256 of a level a tap, the result is rounded to the nearest level. Rows are given as offsets into a flat array: a
resize steps by a row of the image, a blur along a line steps by one pixel.
"""

from __future__ import annotations

import numpy as np
from numba import njit

HALF = np.uint16(128)
SHIFT = np.uint16(8)


@njit(cache=True, nogil=True)
def quantize(weights: np.ndarray, count: int, out: np.ndarray) -> None:
    """Positive weights[:count], of any sum, to 16-bit fractions in out[:count]; rounding errors do not pile up."""
    total = 0.0
    for k in range(count):
        total += weights[k]
    running, before = 0.0, 0
    for k in range(count):
        running += weights[k]
        after = int(np.rint(running / total * 65535.0))
        out[k] = after - before
        before = after


@njit(cache=True, nogil=True, inline="always")
def _part(pixel: np.uint8, high: np.uint8, low: np.uint8) -> np.uint16:
    return np.uint16(pixel * high) + np.uint16(np.uint16(pixel * low) >> SHIFT)


@njit(cache=True, nogil=True, inline="always")
def _bytes(weight: np.uint16) -> tuple[np.uint8, np.uint8]:
    return np.uint8(weight >> SHIFT), np.uint8(weight)


@njit(cache=True, nogil=True)
def _two(src: np.ndarray, at: int, step: int, weights: np.ndarray, out: np.ndarray) -> None:
    (h0, l0), (h1, l1) = _bytes(weights[0]), _bytes(weights[1])
    n = out.size
    a, b = src[at : at + n], src[at + step : at + step + n]
    for i in range(n):
        out[i] = np.uint16(_part(a[i], h0, l0) + _part(b[i], h1, l1) + HALF) >> SHIFT


@njit(cache=True, nogil=True)
def _three(src: np.ndarray, at: int, step: int, weights: np.ndarray, out: np.ndarray) -> None:
    (h0, l0), (h1, l1), (h2, l2) = _bytes(weights[0]), _bytes(weights[1]), _bytes(weights[2])
    n = out.size
    a, b = src[at : at + n], src[at + step : at + step + n]
    c = src[at + 2 * step : at + 2 * step + n]
    for i in range(n):
        total = _part(a[i], h0, l0) + _part(b[i], h1, l1) + _part(c[i], h2, l2)
        out[i] = np.uint16(total + HALF) >> SHIFT


@njit(cache=True, nogil=True)
def _four(src: np.ndarray, at: int, step: int, weights: np.ndarray, out: np.ndarray) -> None:
    (h0, l0), (h1, l1) = _bytes(weights[0]), _bytes(weights[1])
    (h2, l2), (h3, l3) = _bytes(weights[2]), _bytes(weights[3])
    n = out.size
    a, b = src[at : at + n], src[at + step : at + step + n]
    c, d = src[at + 2 * step : at + 2 * step + n], src[at + 3 * step : at + 3 * step + n]
    for i in range(n):
        total = _part(a[i], h0, l0) + _part(b[i], h1, l1) + _part(c[i], h2, l2) + _part(d[i], h3, l3)
        out[i] = np.uint16(total + HALF) >> SHIFT


@njit(cache=True, nogil=True)
def _add_four(src: np.ndarray, at: int, step: int, weights: np.ndarray, sums: np.ndarray) -> None:
    (h0, l0), (h1, l1) = _bytes(weights[0]), _bytes(weights[1])
    (h2, l2), (h3, l3) = _bytes(weights[2]), _bytes(weights[3])
    n = sums.size
    a, b = src[at : at + n], src[at + step : at + step + n]
    c, d = src[at + 2 * step : at + 2 * step + n], src[at + 3 * step : at + 3 * step + n]
    for i in range(n):
        total = _part(a[i], h0, l0) + _part(b[i], h1, l1) + _part(c[i], h2, l2) + _part(d[i], h3, l3)
        sums[i] = np.uint16(sums[i] + total)


@njit(cache=True, nogil=True)
def _add_one(src: np.ndarray, at: int, weight: np.uint16, sums: np.ndarray) -> None:
    high, low = _bytes(weight)
    a = src[at : at + sums.size]
    for i in range(sums.size):
        sums[i] = np.uint16(sums[i] + _part(a[i], high, low))


@njit(cache=True, nogil=True)
def weighted_rows(
    src: np.ndarray, at: int, step: int, weights: np.ndarray, count: int, out: np.ndarray, sums: np.ndarray
) -> None:
    """out[i] = sum over k < count of weights[k] / 65536 * src[at + k * step + i], rounded.

    src: flat uint8. weights: uint16, adding up to at most 65535. out: flat uint8. sums: uint16 scratch of out's size
    or longer.
    """
    n = out.size
    if count == 1:
        out[:] = src[at : at + n]
    elif count == 2:
        _two(src, at, step, weights, out)
    elif count == 3:
        _three(src, at, step, weights, out)
    elif count == 4:
        _four(src, at, step, weights, out)
    else:
        sums = sums[:n]
        sums[:] = HALF
        k = 0
        while k + 4 <= count:
            _add_four(src, at + k * step, step, weights[k:], sums)
            k += 4
        while k < count:
            _add_one(src, at + k * step, weights[k], sums)
            k += 1
        for i in range(n):
            out[i] = sums[i] >> SHIFT
