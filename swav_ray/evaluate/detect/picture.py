"""A picture of a detector: what is there in the upper row, what was found below it, and the curve of its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from swav_ray.data.decoding.decode import UnreadableImage
from swav_ray.evaluate.detect import masks as codes
from swav_ray.evaluate.detect.annotations import Annotated
from swav_ray.evaluate.detect.detector import Found
from swav_ray.evaluate.detect.examples import pixels_of
from swav_ray.report.figures import new_figure, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SURE = 0.5  # least score of what is drawn
_VEIL = 0.45  # of a mask's colour over its pixels


def picture(annotated: Annotated, found: Mapping[int, Found], rows: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """A PNG.

    Args:
        found: in a few images, by their index. rows: with "iterations" and "loss" (or None).
    """
    images = {}
    for index in found:
        try:
            images[index] = pixels_of(annotated, index)
        except UnreadableImage:
            continue
    figure = new_figure(max(4.0, 2.3 * len(images)), 7.0)
    grid = figure.add_gridspec(3, max(1, len(images)), height_ratios=(3, 3, 1.4))
    for column, (index, image) in enumerate(images.items()):
        truth, guess = annotated.objects[index], found[index]
        above, below = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
        _draw(
            above, image, truth.boxes, truth.labels, truth.masks, [annotated.classes[label] for label in truth.labels]
        )
        sure = np.flatnonzero(guess.scores >= _SURE).tolist()
        named = [f"{annotated.classes[guess.labels[row]]} {guess.scores[row]:.2f}" for row in sure]
        masks = None if guess.masks is None else [guess.masks[row] for row in sure]
        _draw(below, image, guess.boxes[sure], guess.labels[sure], masks, named)
        above.set_title("truth" if column == 0 else "", fontsize=9, loc="left")
        below.set_title(f"found, score {_SURE:g} or more" if column == 0 else "", fontsize=9, loc="left")
    losses = [(row["iterations"], row["loss"]) for row in rows if row.get("loss") is not None]
    curve = figure.add_subplot(grid[2, :])
    curve.plot([at for at, _ in losses], [loss for _, loss in losses], color="#b7791f", marker="o", ms=3)
    curve.set_xlabel("iterations")
    curve.set_ylabel("training loss")
    curve.grid(alpha=0.3)
    curve.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=10)
    return png(figure)


def _draw(
    axes: Axes,
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    masks: Sequence[dict[str, Any]] | None,
    names: Sequence[str],
) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    colors = [np.array(colormaps["tab10"](int(label) % 10)[:3]) for label in labels]
    shown = image.astype(np.float64) / 255
    for color, mask in zip(colors, masks or (), strict=False):
        inside = codes.decode(mask).astype(bool)
        shown[inside] = (1 - _VEIL) * shown[inside] + _VEIL * color
    axes.imshow(shown)
    for color, box, name in zip(colors, boxes.tolist(), names, strict=True):
        left, top, right, bottom = box
        axes.add_patch(Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, color=color, lw=1.5))
        axes.text(
            left, top, name, fontsize=6, color="white", va="bottom", bbox={"pad": 1, "color": (*color, 0.8), "lw": 0}
        )
    axes.set_axis_off()
