"""The learning curve of an evaluation that trains: its loss and its accuracy, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swav_ray.report.figures import new_figure, png

_LONGEST = 90  # characters of a place that fit
_FEW = 20  # epochs that show as points


def learning_curve(rows: Sequence[Mapping[str, Any]], figure: str, title: str, place: str) -> bytes:
    """A PNG: the training loss above, one figure on the validation split below.

    Args:
        rows: with "epoch", "loss" (or None) and the figure, in percent.
        place: of the weights, below the title.
    """
    picture = new_figure(7, 4.6)
    above, below = picture.subplots(2, 1, sharex=True)
    epochs = [row["epoch"] for row in rows]
    marker = "o" if len(rows) <= _FEW else ""
    losses = [(row["epoch"], row["loss"]) for row in rows if row.get("loss") is not None]
    above.plot([epoch for epoch, _ in losses], [loss for _, loss in losses], color="#b7791f", marker=marker, ms=4)
    above.set_ylabel("training loss")
    below.plot(epochs, [row[figure] for row in rows], color="#2b6cb0", marker=marker, ms=4)
    best = max(rows, key=lambda row: row[figure])
    below.plot([best["epoch"]], [best[figure]], "o", color="#2b6cb0", fillstyle="none", ms=10)
    text = f"best: {best[figure]:.1f}% after epoch {best['epoch']}"
    below.text(0.99, 0.06, text, transform=below.transAxes, ha="right", fontsize=8)
    below.set_ylabel(f"{figure}, %")
    below.set_xlabel("epoch")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    picture.suptitle(title, fontsize=10)
    above.set_title(place if len(place) <= _LONGEST else f"...{place[-_LONGEST:]}", fontsize=8, color="#555555")
    return png(picture)
