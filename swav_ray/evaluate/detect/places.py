"""From what the command names to annotated images: a COCO file or the folder around it, or a folder of PASCAL VOC."""

from __future__ import annotations

from swav_ray.data.formats.names import split_word
from swav_ray.evaluate.detect.annotations import Annotated, check
from swav_ray.evaluate.detect.coco import read_coco
from swav_ray.evaluate.detect.voc import read_voc, years_of
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.storage.place import Place, place

_WANTED = "give a COCO JSON file, a folder that holds one, or a folder of PASCAL VOC (Annotations, JPEGImages)"
_SPLITS = {"--train": "train", "--val": "test"}


def of_places(train: str, val: str) -> tuple[Annotated, Annotated]:
    """What to learn from and what to judge by, with one list of classes; `val` empty: the other split of `train`.

    Raises:
        EvaluationError: a place holds no such data, or data that cannot be. PlaceError: a place cannot be read.
    """
    first = check(_read(place(train), "--train"), "--train")
    second = check(_read(place(val or train), "--val"), "--val")
    if second.source == first.source and second.names == first.names and first.kind == "coco" and not val:
        raise EvaluationError(f"--train {train}: has no second file of annotations to judge by; give --val PLACE")
    return first, second.with_classes(first.classes, first.source)


def _read(where: Place, option: str) -> Annotated:
    if where.name.endswith(".json"):
        return read_coco(where)
    if not where.exists():
        raise EvaluationError(f"{option} {where}: does not exist; {_WANTED}")
    if years_of(where):
        return read_voc(where, option)
    return read_coco(_coco_file(where, option))


def _coco_file(folder: Place, option: str) -> Place:
    """The one JSON file of a folder, or of `annotations` in it, that is of this split by its name."""
    for holder in (folder / "annotations", folder):
        names = sorted(entry.name for entry in holder.list() if entry.name.endswith(".json") and "/" not in entry.name)
        # COCO's own folder holds captions and key points, too.
        names = [name for name in names if name.startswith("instances_")] or names
        of_split = [name for name in names if split_word(name.removesuffix(".json") + "/") == _SPLITS[option]]
        found = of_split or [name for name in names if split_word(name.removesuffix(".json") + "/") is None]
        if len(found) == 1:
            return holder / found[0]
        if names:
            raise EvaluationError(f"{option} {folder}: which of {', '.join(names)} is meant? Give the file itself")
    raise EvaluationError(f"{option} {folder}: holds no annotations; {_WANTED}")
