"""Ticks of an axis, and long curves as few points: what a picture of so many pixels can show."""

from __future__ import annotations

import math

import numpy as np

MOST_POINTS = 600  # of a drawn curve; a chart is about as many pixels wide


def ticks(low: float, high: float, wanted: int = 5, *, whole: bool = False) -> list[float]:
    """Round numbers that span low..high, about `wanted` of them.

    Args:
        whole: none with a fraction.
    """
    if not low < high:
        low, high = low - 0.5, low + 0.5
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw)
    if whole:
        step = float(math.ceil(step))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def number(value: float) -> str:
    """A figure as people read it: thousands apart, four digits that mean something."""
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 1e-3:
        return f"{value:.2g}"
    return f"{value:.4g}"


def spread(x: np.ndarray, y: np.ndarray, most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """A curve by the lowest and highest point of each stretch, in their order: no spike is lost.

    Args:
        x, y: (N,).

    Returns:
        (M,) each, M at most `most`.
    """
    if len(x) <= most:
        return x, y
    kept: list[int] = []
    for part in np.array_split(np.arange(len(x)), most // 2):
        kept += sorted({int(part[y[part].argmin()]), int(part[y[part].argmax()])})
    return x[kept], y[kept]


def means(x: np.ndarray, y: np.ndarray, most: int = MOST_POINTS // 4) -> tuple[np.ndarray, np.ndarray]:
    """A curve by the mean of each stretch: what it does apart from its noise. (M,) each, M at most `most`."""
    if len(x) <= most:
        return x, y
    edges = np.linspace(0, len(x), most + 1).astype(int)
    widths = np.diff(edges)
    return np.add.reduceat(x, edges[:-1]) / widths, np.add.reduceat(y, edges[:-1]) / widths
