"""The map of a gallery in pixels, its points coloured by their label and by their prototype."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swav_ray.report.page.gallery import Gallery, Map

_COLOURS = 10  # of the commonest; all others share one more
_WIDTH, _HEIGHT, _ROOM = 640, 480, 14


@dataclass(frozen=True)
class Dot:
    """A point: pixels, and the numbers of its label's and its prototype's colour."""

    x: float
    y: float
    label: int
    prototype: int


@dataclass(frozen=True)
class View:
    """One map: how it was made, in words, and its points in the gallery's order."""

    how: str
    dots: list[Dot]


@dataclass(frozen=True)
class Shown:
    """What the page draws. `data` is what its script needs: a line for each image, and where it lies on the sheet."""

    views: list[View]
    labels: list[str]
    prototypes: list[str]
    by_label: bool
    other_labels: bool
    other_prototypes: bool
    data: dict[str, Any]


def map_of(gallery: Gallery) -> Shown:
    """The points of every map of a gallery."""
    named = [picture.label or None for picture in gallery.pictures]
    label_colours = _commonest([name for name in named if name])
    prototype_colours = _commonest(gallery.assigned)
    colours = [
        (label_colours.get(name, _COLOURS), prototype_colours.get(prototype, _COLOURS))
        for name, prototype in zip(named, gallery.assigned, strict=True)
    ]
    said = [
        ", ".join(part for part in (picture.name, picture.label, f"prototype {prototype}") if part)
        for picture, prototype in zip(gallery.pictures, gallery.assigned, strict=True)
    ]
    return Shown(
        views=[_view(one, colours) for one in gallery.maps],
        labels=[str(name) for name in label_colours],
        prototypes=[f"prototype {number}" for number in prototype_colours],
        by_label=bool(label_colours),
        other_labels=any(colour == _COLOURS for colour, _ in colours),
        other_prototypes=any(colour == _COLOURS for _, colour in colours),
        data={"columns": gallery.columns, "side": gallery.side, "said": said},
    )


def _commonest(values: Sequence[Any]) -> dict[Any, int]:
    return {value: colour for colour, (value, _) in enumerate(Counter(values).most_common(_COLOURS))}


def _view(one: Map, colours: Sequence[tuple[int, int]]) -> View:
    return View(
        one.how,
        [
            Dot(
                round(_ROOM + (x + 1) / 2 * (_WIDTH - 2 * _ROOM), 1),
                round(_HEIGHT - _ROOM - (y + 1) / 2 * (_HEIGHT - 2 * _ROOM), 1),
                *colour,
            )
            for (x, y), colour in zip(one.points, colours, strict=True)
        ],
    )
