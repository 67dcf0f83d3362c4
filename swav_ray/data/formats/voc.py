"""The layout of Pascal VOC: JPEGImages, an XML file of objects for each image in Annotations, lists in ImageSets/Main.

Read as the devkit writes it (Everingham et al., The PASCAL Visual Object Classes Challenge 2007, development kit), and
as annotation tools imitate it. A place is the folder of a year, such as VOCdevkit/VOC2007, local or on S3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from swav_ray.data.formats.names import kind_of
from swav_ray.storage.place import Place, PlaceError

IMAGES = "JPEGImages"
ANNOTATIONS = "Annotations"
IMAGE_SETS = "ImageSets/Main"


@dataclass(frozen=True, slots=True)
class VocObject:
    """One object of an image.

    Attributes:
        name: of its class.
        box: xmin, ymin, xmax, ymax as the file has them: pixels counted from 1, both ends inside the box.
        difficult: the devkit neither rewards nor punishes finding it.
    """

    name: str
    box: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True, slots=True)
class VocImage:
    """What an annotation says of its image.

    Attributes:
        name: of the image in the lists, such as 000005.
        file: of the image, below the place.
        width, height: in pixels; 0 if the annotation does not say.
        objects: in the file's order; none is possible.
    """

    name: str
    file: str
    width: int
    height: int
    objects: tuple[VocObject, ...]


def is_voc(where: Place) -> bool:
    """Whether a place has this layout: folders of images and of annotations."""
    return (where / ANNOTATIONS).exists() and (where / IMAGES).exists()


def image_set(where: Place, name: str) -> list[str]:
    """The names of an image set's images (`trainval`, `test`, ...), in its order.

    Raises:
        PlaceError: there is no such set, or it is empty.
    """
    file = where / IMAGE_SETS / f"{name}.txt"
    try:
        lines = file.read_bytes().decode().splitlines()
    except FileNotFoundError:
        there = ", ".join(image_sets(where)) or "none"
        raise PlaceError(f"{file}: no such image set; there are: {there}") from None
    except UnicodeDecodeError:
        raise PlaceError(f"{file}: is not UTF-8 text; an image set has the name of an image on each line") from None
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise PlaceError(f"{file}: names no image")
    return names


def image_sets(where: Place) -> list[str]:
    """The image sets of a place, sorted; without those of single classes, such as `dog_train`."""
    files = (entry.name for entry in (where / IMAGE_SETS).list())
    return sorted(name.removesuffix(".txt") for name in files if name.endswith(".txt") and "_" not in name)


def read_annotations(where: Place, names: Sequence[str]) -> Iterator[VocImage]:
    """The annotations of these images, in order; on S3 the next ones are read while one is used.

    Raises:
        PlaceError: one is missing or is no annotation. StorageUnavailable: the storage cannot be used.
    """
    files = [f"{ANNOTATIONS}/{name}.xml" for name in names]
    for name, file, data in zip(names, files, where.read_ahead([(file, None) for file in files]), strict=True):
        if isinstance(data, FileNotFoundError):
            raise PlaceError(f"{where / file}: no such annotation, and an image set names its image")
        if isinstance(data, Exception):
            raise data
        yield parse_annotation(data, name, str(where / file))


def parse_annotation(data: bytes, name: str, where: str) -> VocImage:
    """What one XML file says; `where` is its name in messages. Raises PlaceError if it is no annotation."""
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError) as error:
        raise PlaceError(f"{where}: is no XML of an annotation ({error})") from None
    if root.tag != "annotation":
        raise PlaceError(f"{where}: its root is <{root.tag}> and not <annotation>")
    file = (root.findtext("filename") or "").strip()
    # The file's suffix alone: tools write other names there when images were renamed.
    suffix = f".{file.rpartition('.')[2]}" if kind_of(file) == "image" else ".jpg"
    try:
        size = [int(float(root.findtext(f"size/{side}") or 0)) for side in ("width", "height")]
        objects = tuple(_object(found) for found in root.iterfind("object"))
    except ValueError as error:
        raise PlaceError(f"{where}: {error}") from None
    return VocImage(name, f"{IMAGES}/{name}{suffix}", size[0], size[1], objects)


def _object(found: ElementTree.Element) -> VocObject:
    name = (found.findtext("name") or "").strip()
    if not name:
        raise ValueError("an <object> has no <name>")
    sides = [(found.findtext(f"bndbox/{side}") or "").strip() for side in ("xmin", "ymin", "xmax", "ymax")]
    if "" in sides:
        raise ValueError(f"the object {name} has no whole <bndbox> of xmin, ymin, xmax, ymax")
    left, top, right, bottom = map(float, sides)
    difficult = (found.findtext("difficult") or "0").strip()
    return VocObject(name, (left, top, right, bottom), difficult not in ("0", ""))
