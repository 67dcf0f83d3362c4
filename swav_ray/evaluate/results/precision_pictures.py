"""Pictures of ranked images: precision against recall, classes by average precision, what few labels are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from swav_ray.report.figures import new_axes, new_figure, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_BARS = 40
_BLUE, _PALE = "#2b6cb0", "#9ecae1"


def per_class(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], values: Mapping[str, float], title: str) -> bytes:
    """A PNG: a curve a class with their mean, and the classes by average precision, the worst 40 of many.

    Args:
        curves: precision that falls, and recall, of each class. values: its average precision in percent.
    """
    worst = sorted(values, key=lambda name: values[name])[:_MOST_BARS]
    figure = new_figure(9.5, max(4.2, 1.4 + 0.2 * len(worst)))
    left, right = figure.subplots(1, 2)
    _curves(left, curves)
    _bars(right, {name: values[name] for name in reversed(worst)}, len(values))
    figure.suptitle(title, fontsize=10)
    return png(figure)


def per_shots(few: Mapping[int, Sequence[float]], title: str) -> bytes:
    """A PNG: mean average precision in percent of each draw, and their mean, by labelled images a class."""
    figure, axes = new_axes(8, 4.2)
    axes.plot(list(few), [np.mean(draws) for draws in few.values()], color=_BLUE, marker="o", label="mean")
    for row, (k, draws) in enumerate(few.items()):
        axes.plot([k] * len(draws), draws, ".", color=_PALE, zorder=0, label=None if row else "a draw")
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(few), [str(k) for k in few])
    axes.minorticks_off()
    axes.set_xlabel("labelled images a class")
    axes.set_ylabel("mean average precision, %")
    axes.set_title(title, fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def _curves(axes: Axes, curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    recalls = np.linspace(0, 1, 101)
    sampled = [precision[np.searchsorted(recall, recalls - 1e-9)] for precision, recall in curves.values()]
    for row, precision in enumerate(sampled):
        axes.plot(recalls, 100 * precision, color=_PALE, linewidth=0.8, label=None if row else "a class")
    axes.plot(recalls, 100 * np.mean(sampled, axis=0), color=_BLUE, linewidth=2, label="mean")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 102)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision at this recall or above, %")
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    axes.spines[["top", "right"]].set_visible(False)


def _bars(axes: Axes, values: Mapping[str, float], classes: int) -> None:
    axes.barh(list(values), list(values.values()), color=_BLUE)
    for row, value in enumerate(values.values()):
        inside = value > 90
        at, side, color = (value - 1, "right", "white") if inside else (value + 1, "left", "black")
        axes.text(at, row, f"{value:.1f}", va="center", ha=side, color=color, fontsize=7)
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlim(0, 100)
    axes.set_xlabel("average precision, %")
    axes.spines[["top", "right"]].set_visible(False)
    if len(values) < classes:
        axes.set_title(f"the {len(values)} worst of {classes} classes", fontsize=9)
