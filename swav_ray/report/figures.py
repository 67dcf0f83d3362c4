"""Pictures as PNG: what every plot of this package begins and ends with.

Matplotlib's object interface with a canvas of its own has no global state and needs no display. It is imported when the
first picture is drawn, which takes a second.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; `width` and `height` in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of so many inches with one pair of axes."""
    figure = new_figure(width, height)
    return figure, figure.add_subplot()


def png(figure: Figure) -> bytes:
    """The figure as a PNG file, 110 dots an inch."""
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=110)
    return sink.getvalue()
