"""Small places in the layout of Pascal VOC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.data.images import image, write_files

_OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult>"
    "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>12</xmax><ymax>13</ymax></bndbox></object>"
)


def annotation(objects: Sequence[str]) -> bytes:
    """The XML of an image with these objects; a name with a question mark is a difficult one."""
    found = "".join(_OBJECT.format(name.removesuffix("?"), int(name.endswith("?"))) for name in objects)
    return f"<annotation><size><width>24</width><height>20</height></size>{found}</annotation>".encode()


def write_voc(root: Path, objects: Mapping[str, Sequence[str]], sets: Mapping[str, Sequence[str]]) -> Path:
    """Images by name with their objects, and image sets of them."""
    files = {f"JPEGImages/{name}.jpg": image(seed) for seed, name in enumerate(objects)}
    files |= {f"Annotations/{name}.xml": annotation(found) for name, found in objects.items()}
    files |= {f"ImageSets/Main/{name}.txt": "\n".join(images).encode() for name, images in sets.items()}
    return write_files(root, files)
