"""The pictures of a run's page, ready to be shown, and their cache in the run directory. Knows neither torch nor Ray.

Thumbnails lie in one JPEG, the sheet, so that a page that shows an image ten times holds it once.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from swav_ray.run.layout import GALLERY
from swav_ray.storage.place import Place

_VERSION = 1


@dataclass(frozen=True)
class Picture:
    """An image by its place on the sheet: its name, and its label in words ('' if it has none)."""

    name: str
    label: str = ""


@dataclass(frozen=True)
class Cluster:
    """A prototype: how many of the sampled images are nearest to it, and those that are nearest first.

    `purity` is the fraction of its labelled images that have its commonest label, `label`; None without labels.
    """

    number: int
    images: int
    nearest: tuple[int, ...]
    purity: float | None = None
    label: str = ""


@dataclass(frozen=True)
class Neighbours:
    """An image and its nearest others by the network, and by the network before training; nearest first."""

    query: int
    after: tuple[int, ...]
    before: tuple[int, ...]


@dataclass(frozen=True)
class Map:
    """Two coordinates of each sampled image, within -1..1, and how they were made, in words."""

    how: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Crops:
    """One image as the network saw it: the image and its crops as JPEGs in base64, with each crop's side in pixels."""

    name: str
    label: str
    original: str
    crops: tuple[tuple[int, str], ...]
    unreadable: str = ""


@dataclass(frozen=True)
class Gallery:
    """The pictures of a run.

    Attributes:
        step: of the checkpoint that they are of. images: of the data set, of which `pictures` are a sample.
        sheet: JPEG in base64 of all thumbnails, `columns` in a row, `side` pixels each.
        pictures: by their number on the sheet. prototypes: of the first head. clusters: the most used first.
        assigned: the nearest prototype of each picture.
        used: prototypes that are nearest to an image of the sample.
        embedded_side: of the images as they were embedded, in pixels; 0: not known, an earlier version made them.
        maps: one, or two if UMAP is installed. began: what `before` means, in words.
    """

    step: int
    images: int
    sheet: str
    columns: int
    side: int
    pictures: tuple[Picture, ...]
    prototypes: int
    used: int
    clusters: tuple[Cluster, ...]
    assigned: tuple[int, ...]
    neighbours: tuple[Neighbours, ...]
    maps: tuple[Map, ...]
    crops: tuple[Crops, ...]
    began: str = ""
    embedded_side: int = 0
    version: int = field(default=_VERSION)

    def row(self, number: int) -> int:
        """Pixels from the sheet's top to a picture."""
        return number // self.columns * self.side

    def column(self, number: int) -> int:
        """Pixels from the sheet's left to a picture."""
        return number % self.columns * self.side

    @property
    def width(self) -> int:
        """Of the sheet in pixels."""
        return self.columns * self.side

    @property
    def height(self) -> int:
        """Of the sheet in pixels."""
        return -(-len(self.pictures) // self.columns) * self.side


def cached(run_dir: Place, step: int) -> Gallery | None:
    """The gallery of the checkpoint before `step`, if it was made before; None if not, or by another version."""
    try:
        found = json.loads((run_dir / GALLERY).read_bytes())
        return _of(found) if found["step"] == step and found["version"] == _VERSION else None
    except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):
        return None  # it is made anew, whatever is wrong with it


def save(gallery: Gallery, run_dir: Place) -> None:
    """Writes the cache. Raises OSError."""
    (run_dir / GALLERY).write_bytes(json.dumps(asdict(gallery)).encode())


def _of(found: dict[str, Any]) -> Gallery:
    parts: dict[str, Any] = {
        "pictures": [Picture(**item) for item in found["pictures"]],
        "clusters": [Cluster(**item | {"nearest": tuple(item["nearest"])}) for item in found["clusters"]],
        "neighbours": [
            Neighbours(item["query"], tuple(item["after"]), tuple(item["before"])) for item in found["neighbours"]
        ],
        "maps": [Map(item["how"], tuple((x, y) for x, y in item["points"])) for item in found["maps"]],
        "crops": [Crops(**item | {"crops": tuple((s, d) for s, d in item["crops"])}) for item in found["crops"]],
        "assigned": found["assigned"],
    }
    return Gallery(**found | {name: tuple(values) for name, values in parts.items()})
