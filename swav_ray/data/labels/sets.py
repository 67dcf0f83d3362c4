"""Images with any number of labels each: from a CSV in which an image may have several, or VOC's annotations.

An image may have none: it shows nothing of any class, and is worth as much as one that does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from swav_ray.data.formats import voc
from swav_ray.data.labels.in_memory import read_label_sets, sorted_names, unnamed
from swav_ray.data.manifest import Manifest
from swav_ray.storage.place import Place, PlaceError

PRESENT, ABSENT, IGNORED = 1, 0, -1
_EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class LabelSets:
    """The labels of some samples of a manifest.

    Attributes:
        ids: of the samples whose labels are known, (N,) int64 ascending.
        targets: (N, classes) int8: PRESENT, ABSENT, or IGNORED if the class is neither to be learned nor judged by it.
        classes: names of the columns.
    """

    ids: np.ndarray
    targets: np.ndarray
    classes: list[str]


def of_csv(manifest: Manifest, where: Place) -> tuple[LabelSets, tuple[str, ...]]:
    """Labels of a CSV of name,label, and notes for the user. An image with an empty cell has none of the classes.

    Images that the CSV does not name are left out.

    Raises:
        PlaceError: the file is missing or is no CSV of name,label, or no name is an image's.
    """
    labels_of, notes = read_label_sets(manifest, where)
    ids = sorted(labels_of)
    classes = sorted_names({label for found in labels_of.values() for label in found})
    targets = _targets((labels_of[sample] for sample in ids), classes, len(ids))
    notes += unnamed(manifest, where, len(ids))
    return LabelSets(np.array(ids, np.int64), targets, classes), tuple(notes)


def of_voc(where: Place, images: Manifest, image_set: str) -> tuple[LabelSets, tuple[str, ...]]:
    """Labels of an image set of VOC: a class is present if it has an object that is not difficult.

    A class of which an image has only difficult objects is ignored there, as the devkit's own classifiers do.

    Args:
        where: the folder of a year.
        images: the manifest of its images.

    Raises:
        PlaceError: there is no such image set, an annotation is missing or cannot be read, or no image is there.
    """
    sample_of = {PurePosixPath(uri).stem: sample for sample, uri in enumerate(images.table["uri"].to_pylist())}
    listed = list(dict.fromkeys(voc.image_set(where, image_set)))
    names = sorted((name for name in listed if name in sample_of), key=lambda name: sample_of[name])
    notes = []
    if gone := [name for name in listed if name not in sample_of]:
        some = ", ".join(gone[:_EXAMPLES])
        told = f"{where}: {len(gone):,} of {len(listed):,} images of its set {image_set} are not there: {some}"
        if not names:
            raise PlaceError(told)
        notes.append(told)
    found = list(voc.read_annotations(where, names))
    every = [{thing.name for thing in one.objects} for one in found]
    easy = [{thing.name for thing in one.objects if not thing.difficult} for one in found]
    classes = sorted(set[str]().union(*every))
    targets = _targets(easy, classes, len(names))
    targets[_targets(every, classes, len(names)) > targets] = IGNORED
    ids = np.array([sample_of[name] for name in names], np.int64)
    return LabelSets(ids, targets, classes), tuple(notes)


def of_labels(labels: np.ndarray, classes: int) -> np.ndarray:
    """Targets of images with one label each, (N,) integers from 0: (N, classes) int8."""
    targets = np.full((len(labels), classes), ABSENT, np.int8)
    targets[np.arange(len(labels)), labels] = PRESENT
    return targets


def _targets(sets: Iterable[set[str]], classes: Sequence[str], images: int) -> np.ndarray:
    column = {name: number for number, name in enumerate(classes)}
    targets = np.full((images, len(classes)), ABSENT, np.int8)
    for row, found in enumerate(sets):
        targets[row, [column[name] for name in found]] = PRESENT
    return targets
