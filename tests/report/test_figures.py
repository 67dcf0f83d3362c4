"""A figure is a PNG of the size that was asked for, drawn without a display."""

from __future__ import annotations

import io

from PIL import Image

from swav_ray.report.figures import new_axes, png


def test_a_figure_is_a_png_of_its_size() -> None:
    figure, axes = new_axes(4, 2)
    axes.plot([0, 1], [1, 0])
    image = Image.open(io.BytesIO(png(figure)))
    assert (image.format, image.size) == ("PNG", (440, 220))
