"""Charts as what a template draws: paths and places in pixels of an SVG. Knows nothing of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swav_ray.report.page.axis import number, spread, ticks

WIDTH, HEIGHT = 640, 280
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 14, 44
_LETTER_HEIGHT, _LETTER_WIDTH = 16, 7.5
_READ = 12  # curves whose figures are read under the pointer
TONES = 8  # colours that the style sheet has; further curves begin again


@dataclass(frozen=True)
class Series:
    """A curve: `x`, `y` and half the height of its `error` bars if it has any, (N,) each; what is not finite is a gap.

    `tone` is the number of its colour; `style` one of line, faint, dots, dashed.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    tone: int = 0
    style: str = "line"
    error: np.ndarray | None = None


@dataclass(frozen=True)
class Mark:
    """Something that happened at `x`: a restart, a resize, a remedy."""

    x: float
    text: str
    kind: str


@dataclass(frozen=True)
class Level:
    """A figure to compare a curve with, as a horizontal line."""

    y: float
    text: str


@dataclass(frozen=True)
class Chart:
    """What a chart shows, and the sentence that says it to those who do not see it.

    `low` and `high` bound the y axis if they are given; else the curves and levels do. `lists_marks`: marks are also
    listed in words, which one chart of several does for all. `whole`: x counts things that have no parts.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    levels: Sequence[Level] = ()
    marks: Sequence[Mark] = ()
    low: float | None = None
    high: float | None = None
    note: str = ""
    lists_marks: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Drawn:
    """A chart in pixels. `data` is what the page's script shows under the pointer."""

    chart: Chart
    said: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    paths: list[dict[str, Any]]
    levels: list[tuple[float, float, str]]
    marks: list[dict[str, Any]]
    data: dict[str, Any] = field(default_factory=dict)


def draw(chart: Chart) -> Drawn | None:
    """The chart in pixels; None if no curve has a finite point."""
    curves = [(series, *_finite(series)) for series in chart.series]
    curves = [curve for curve in curves if len(curve[1])]
    if not curves:
        return None
    x_low, x_high = _widened(
        min(float(x.min()) for _, x, _, _ in curves), max(float(x.max()) for _, x, _, _ in curves), 0
    )
    heights = np.concatenate([y for _, _, y, _ in curves] + [[level.y for level in chart.levels]])
    y_low, y_high = _widened(float(heights.min()), float(heights.max()), 0.05)
    y_low = chart.low if chart.low is not None else y_low
    y_high = chart.high if chart.high is not None else y_high

    def at_x(value: float | np.ndarray) -> Any:
        return LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def at_y(value: float | np.ndarray) -> Any:
        return HEIGHT - BOTTOM - (np.clip(value, y_low, y_high) - y_low) / (y_high - y_low) * (HEIGHT - BOTTOM - TOP)

    paths: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    for series, x, y, error in curves:
        shown_x, shown_y = spread(x, y) if error is None else (x, y)
        paths.append(
            {
                "class": f"{series.style} tone{series.tone % TONES}",
                "line": _path(at_x(shown_x), at_y(shown_y)) if series.style != "dots" else "",
                "dots": _dots(at_x(shown_x), at_y(shown_y)) if series.style == "dots" or len(x) <= 60 else [],
                "bars": [] if error is None else _bars(at_x(x), at_y(y - error), at_y(y + error)),
                "name": series.name,
            }
        )
        if series.style != "faint" and len(points) < _READ:
            points.append({"name": series.name, "x": _rounded(shown_x), "y": _rounded(shown_y)})
    return Drawn(
        chart=chart,
        said=_said(chart, curves),
        x_ticks=[(_pixel(at_x(value)), number(value)) for value in ticks(x_low, x_high, whole=chart.whole)],
        y_ticks=[(_pixel(at_y(value)), number(value)) for value in ticks(y_low, y_high)],
        paths=paths,
        levels=_levels([(_pixel(at_y(level.y)), level.text) for level in chart.levels]),
        marks=[
            {"x": _pixel(at_x(mark.x)), "text": mark.text, "kind": mark.kind}
            for mark in chart.marks
            if x_low <= mark.x <= x_high
        ],
        data={"label": chart.x_label, "low": x_low, "high": x_high, "series": points},
    )


def _levels(levels: list[tuple[float, str]]) -> list[tuple[float, float, str]]:
    """Heights, and the right end and text of what each is called; of two close lines the names lie side by side."""
    placed: list[tuple[float, float, str]] = []
    for y, text in sorted(levels):
        right = float(WIDTH - RIGHT)
        if placed and y - placed[-1][0] < _LETTER_HEIGHT:
            right = placed[-1][1] - _LETTER_WIDTH * (len(placed[-1][2]) + 2)
        placed.append((y, right, text))
    return placed


def _finite(series: Series) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    x, y = np.asarray(series.x, float), np.asarray(series.y, float)
    good = np.isfinite(x) & np.isfinite(y)
    return x[good], y[good], None if series.error is None else np.asarray(series.error, float)[good]


def _widened(low: float, high: float, by: float) -> tuple[float, float]:
    """Limits of an axis with some room; never without any extent."""
    if low == high:
        half = max(abs(low) * 0.05, 0.5)
        return low - half, high + half
    room = by * (high - low)
    return low - room, high + room


def _path(x: np.ndarray, y: np.ndarray) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))


def _dots(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    return [(_pixel(a), _pixel(b)) for a, b in zip(x, y, strict=True)]


def _bars(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[tuple[float, float, float]]:
    return [(_pixel(a), _pixel(b), _pixel(c)) for a, b, c in zip(x, low, high, strict=True)]


def _pixel(value: float) -> float:
    return round(float(value), 1)


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.5g}") for value in values.tolist()]


def _said(chart: Chart, curves: Sequence[tuple[Series, np.ndarray, np.ndarray, np.ndarray | None]]) -> str:
    """The alternative text: where each curve begins and ends."""
    parts = [
        f"{series.name} from {number(float(y[0]))} to {number(float(y[-1]))}"
        for series, _, y, _ in curves[:TONES]
        if series.style != "faint"
    ]
    levels = [f"{level.text}: {number(level.y)}" for level in chart.levels]
    return f"{chart.title}: {'; '.join([*parts, *levels])}"
