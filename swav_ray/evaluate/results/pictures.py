"""Pictures of an evaluation: which classes are taken for which, and how well each is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from swav_ray.report.figures import new_axes, new_figure, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_NAMED = 30  # classes whose names fit beside a matrix
_WORST = 40  # classes of a bar chart


def per_class(labels: np.ndarray, predicted: np.ndarray, classes: list[str], title: str) -> bytes:
    """A PNG: the confusion matrix for a few classes, else the worst classes as bars.

    Args:
        labels, predicted: (N,) of the validation split.
        classes: names of the labels.
    """
    used = np.unique(labels)
    return (
        _confusion(labels, predicted, classes, title)
        if len(used) <= _MOST_NAMED
        else _bars(labels, predicted, classes, title)
    )


def _confusion(labels: np.ndarray, predicted: np.ndarray, classes: list[str], title: str) -> bytes:
    used = np.unique(np.concatenate([labels, predicted]))
    row_of = {label: row for row, label in enumerate(used.tolist())}
    counts = np.zeros((len(used), len(used)))
    for label, guess in zip(labels.tolist(), predicted.tolist(), strict=True):
        counts[row_of[label], row_of[guess]] += 1
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(4.5, 1.8 + 0.42 * len(used))
    figure, axes = new_axes(side + 0.8, side)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    names = [classes[label] for label in used.tolist()]
    axes.set_xticks(range(len(used)), names, rotation=90)
    axes.set_yticks(range(len(used)), names)
    if len(used) <= 12:
        for row in range(len(used)):
            for column in range(len(used)):
                if shares[row, column] >= 0.5:
                    color = "white" if shares[row, column] > 55 else "black"
                    text = f"{shares[row, column]:.0f}"
                    axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.8, label="% of the label's images")
    return png(figure)


def _bars(labels: np.ndarray, predicted: np.ndarray, classes: list[str], title: str) -> bytes:
    used = np.unique(labels)
    shares = {int(label): 100 * float((predicted[labels == label] == label).mean()) for label in used}
    worst = sorted(shares, key=lambda label: shares[label])[:_WORST]
    figure, axes = new_axes(7, 1.2 + 0.2 * len(worst))
    axes.barh([classes[label] for label in worst], [shares[label] for label in worst], color="#2b6cb0")
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("% found")
    axes.set_title(f"{title}: the {len(worst)} worst of {len(used)} classes", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def cluster_sizes(assigned: Sequence[np.ndarray], labels: np.ndarray, prototypes: Sequence[int], title: str) -> bytes:
    """A PNG: images of each prototype, largest first, the part of its commonest label darker; a row a head.

    Args:
        assigned: for each head, the prototype of each image, (N,). labels: (N,), -1 without one.
        prototypes: number of all, for each head.
    """
    figure = new_figure(8, 0.4 + 3.2 * len(prototypes))
    rows = figure.subplots(len(prototypes), 1, squeeze=False)[:, 0]
    for axes, clusters, count in zip(rows, assigned, prototypes, strict=True):
        _sizes(axes, clusters, labels, count)
    figure.suptitle(title, fontsize=9)
    return png(figure)


def _sizes(axes: Axes, assigned: np.ndarray, labels: np.ndarray, prototypes: int) -> None:
    sizes = np.bincount(assigned, minlength=prototypes)
    commonest = np.array(
        [np.bincount(labels[(assigned == k) & (labels >= 0)], minlength=1).max() for k in range(prototypes)]
    )
    order = np.argsort(-sizes, kind="stable")
    axes.bar(range(prototypes), sizes[order], width=1.0, color="#9ecae1", label="images")
    if (labels >= 0).any():
        axes.bar(range(prototypes), commonest[order], width=1.0, color="#2b6cb0", label="of its commonest label")
    axes.axhline(len(assigned) / prototypes, color="#444444", linewidth=0.8, linestyle="--", label="even spread")
    axes.set_xlabel("prototype, largest first")
    axes.set_ylabel("images")
    axes.set_title(f"{int((sizes == 0).sum())} of {prototypes} prototypes are empty", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def neighbour_sheet(crops: np.ndarray, similarities: np.ndarray, title: str) -> bytes:
    """A PNG: images, and beside each its nearest neighbours with their cosine similarity.

    Args:
        crops: (queries, 1 + neighbours, S, S, 3) uint8, the query first. similarities: (queries, 1 + neighbours).
    """
    rows, columns = similarities.shape
    figure = new_figure(1.15 * columns, 1.25 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for column in range(columns):
            axes = grid[row][column]
            axes.imshow(crops[row, column])
            axes.set_axis_off()
            axes.set_title(f"{similarities[row, column]:.2f}" if column else "image", fontsize=7, pad=2)
    figure.suptitle(f"nearest neighbours: {title}", fontsize=9)
    return png(figure)
