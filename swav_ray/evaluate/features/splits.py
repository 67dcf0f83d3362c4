"""Which images an evaluation learns from and which it judges by, with one list of classes for both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from swav_ray import settings
from swav_ray.config import Config
from swav_ray.data import holdout, manifest
from swav_ray.data.formats import voc
from swav_ray.data.labels import in_memory as labels
from swav_ray.data.labels import sets as label_sets
from swav_ray.data.labels.sets import LabelSets
from swav_ray.data.manifest import Manifest
from swav_ray.data.sample_plan import digest
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.run import layout
from swav_ray.storage.place import Place, place

_EXAMPLES = 5


@dataclass(frozen=True, eq=False)
class Split:
    """Images of a place, all with labels unless images without were asked for.

    Attributes:
        manifest: of the whole place.
        ids: of the labelled images, (N,) int64 ascending.
        labels: (N,) int64 into `classes`; -1 without one, if such images were asked for, or in place of several.
        classes: names of the labels, the same list for both splits of an evaluation.
        targets: (N, classes) int8 as `LabelSets` has them, if an image may have several labels; else None.
    """

    manifest: Manifest
    ids: np.ndarray
    labels: np.ndarray
    classes: list[str]
    targets: np.ndarray | None = None

    @property
    def has_sets(self) -> bool:
        """Whether some image has no label or several."""
        return self.targets is not None and bool(((self.targets == label_sets.PRESENT).sum(axis=1) != 1).any())

    def about(self) -> dict[str, Any]:
        """Which images these are, equal for equal ones: what a result says of what it was measured on."""
        several = [] if self.targets is None else [self.targets.tolist()]
        named = json.dumps([self.classes, self.labels.tolist(), *several]).encode()
        return {
            "place": self.manifest.root,
            "fingerprint": self.manifest.fingerprint,
            "images": len(self.ids),
            "samples": digest(self.ids),
            "classes": len(self.classes),
            "labels": hashlib.sha256(named).hexdigest()[:16],
        }

    def limited(self, most: int) -> Split:
        """At most so many images (0: all), spread evenly over them."""
        return self.rows(holdout.evenly(np.arange(len(self.ids)), most))

    def rows(self, keep: np.ndarray) -> Split:
        """Some of the images, by their position, ascending."""
        targets = None if self.targets is None else self.targets[keep]
        return Split(self.manifest, self.ids[keep], self.labels[keep], self.classes, targets)


def of_places(
    train: str,
    val: str,
    labels_csv: str,
    cache: Place,
    progress: Callable[[int], None] | None = None,
    *,
    labelled: bool = True,
) -> tuple[Split, Split, list[str]]:
    """The splits of places: two of them, or the train and test split of one.

    Args:
        train, val: places; `val` empty: the test split of `train`.
        labels_csv: place of a CSV of name,label for both; empty: the places' own labels.
        cache: folder of cached manifests.
        labelled: only images with a label; else all, and a place without splits and without `val` is its own `val`.
            Labels are then given if each image has at most one.

    Returns:
        The two splits and notes for the user.

    Raises:
        EvaluationError: there is no validation split, a split has no labels, or classes of `val` are not in `train`.
        PlaceError: a place cannot be read.
    """
    notes: list[str] = []

    def read(uri: str) -> Manifest:
        where = place(uri)
        if not labelled and voc.is_voc(where):
            where /= voc.IMAGES  # its other folders are of masks
        found = manifest.load_or_build(where.uri, cache, progress=progress).in_memory()
        notes.extend(found.notes)
        if labels_csv:
            try:
                found, said = labels.with_labels(found, place(labels_csv))
                notes.extend(said)
            except labels.SeveralLabels:
                if labelled:
                    raise
        elif labelled:
            _check_no_voc("val" if uri == val else "train", found)
        return found

    first = read(train)
    second = read(val) if val else first
    test_ids = _judged(second, needed=labelled and not val)
    return *_pair(first, first.train_ids(), second, test_ids, labelled), notes


def of_places_with_sets(
    train: str, val: str, labels_csv: str, cache: Place, progress: Callable[[int], None] | None = None
) -> tuple[Split, Split, list[str]]:
    """As `of_places`, for protocols of images with any number of labels.

    VOC's annotations are read if a place has its layout, and its own image sets: trainval and test, or train and val if
    it has no annotations of a test set. With a CSV an image may have several labels. Images of other places have one.

    Raises:
        EvaluationError, PlaceError: as `of_places`.
    """
    if not labels_csv and not any(voc.is_voc(place(uri)) for uri in (train, val) if uri):
        return of_places(train, val, "", cache, progress)
    notes: list[str] = []

    def read(uri: str, learn: bool) -> tuple[Manifest, LabelSets]:
        where = place(uri)
        if voc.is_voc(where) and not labels_csv:
            found = manifest.load_or_build((where / voc.IMAGES).uri, cache, progress=progress).in_memory()
            sets, said = label_sets.of_voc(where, found, _voc_set(where, learn))
            notes.extend(said)
            return found, sets
        found = manifest.load_or_build(uri, cache, progress=progress).in_memory()
        notes.extend(found.notes)
        ids = found.train_ids() if learn else _judged(found, needed=not val)
        if labels_csv:
            sets, said = label_sets.of_csv(found, place(labels_csv))
            notes.extend(said)
            keep = np.isin(sets.ids, ids)
            return found, LabelSets(sets.ids[keep], sets.targets[keep], sets.classes)
        what = "train" if learn else "val"
        _check_no_voc(what, found)
        one = _split(what, found, ids, labelled=True)
        return found, LabelSets(one.ids, label_sets.of_labels(one.labels, len(one.classes)), one.classes)

    (first, learned), (second, judged) = read(train, True), read(val or train, False)
    return *_pair_sets(first, learned, second, judged), notes


def _check_no_voc(what: str, found: Manifest) -> None:
    """Its folders of images and of masks are no classes."""
    if f"/{voc.IMAGES}/" in f"/{found.table['uri'][0].as_py()}":
        raise EvaluationError(
            f"--{what} {found.root}: has VOC's layout, whose images have any number of labels; give svm the folder of "
            "a year, such as VOCdevkit/VOC2007"
        )


def _voc_set(where: Place, learn: bool) -> str:
    """The image set to learn from, or to judge by. A test set is often there without its annotations."""
    sets = voc.image_sets(where)
    has_test = "test" in sets and (where / voc.ANNOTATIONS / f"{voc.image_set(where, 'test')[0]}.xml").exists()
    if learn:
        return "trainval" if "trainval" in sets and (has_test or "train" not in sets) else "train"
    return "test" if has_test else "val"


def _judged(found: Manifest, needed: bool) -> np.ndarray:
    """Sample ids to judge by: the test split, or if none is `needed`, all of a place without splits."""
    test_ids = found.test_ids()
    if len(test_ids):
        return test_ids
    if needed:
        raise EvaluationError(f"--train {found.root}: has no test split; give --val PLACE")
    return found.train_ids()


def of_run(run_dir: Place, *, labelled: bool = True) -> tuple[Split, Split, list[str]]:
    """What a run trained on, and what it held out.

    Raises:
        EvaluationError: it held nothing out, or its images have no labels. FileNotFoundError: it has not begun.
    """
    config = settings.from_yaml((run_dir / layout.CONFIG).read_bytes().decode(), Config(), str(run_dir / layout.CONFIG))
    samples = manifest.load(run_dir / layout.MANIFEST).in_memory()
    train_ids, held_out = holdout.split(samples, config.data)
    if not labelled and not len(held_out):
        held_out = train_ids
    if not len(held_out):
        raise EvaluationError(f"{run_dir}: this run held no labelled images out; give --train PLACE and --val PLACE")
    return *_pair(samples, train_ids, samples, held_out, labelled), []


def _pair(
    first: Manifest, train_ids: np.ndarray, second: Manifest, val_ids: np.ndarray, labelled: bool
) -> tuple[Split, Split]:
    train = _split("train", first, train_ids, labelled)
    if not labelled:
        return train, _split("val", second, val_ids, labelled)
    learned = [first.classes[label] for label in np.unique(train.labels)]
    if len(learned) < 2:
        raise EvaluationError(
            f"--train {first.root}: its labelled images are all of one class, {learned[0]}; give more"
        )
    _check_apart(first, train_ids, second, val_ids)
    used = [second.classes[label] for label in np.unique(second.labels[val_ids]) if label >= 0]
    _check_known(first, learned, second, used)
    rank = {name: label for label, name in enumerate(first.classes)}
    val = _split("val", second, val_ids, labelled)
    # A name that only images without a part in this have may be missing: it is never looked up.
    own = np.array([rank.get(name, -1) for name in second.classes], np.int64)
    return train, Split(second, val.ids, own[val.labels], first.classes)


def _pair_sets(first: Manifest, learned: LabelSets, second: Manifest, judged: LabelSets) -> tuple[Split, Split]:
    for what, found, sets in (("train", first, learned), ("val", second, judged)):
        if not (sets.targets == label_sets.PRESENT).any():
            raise EvaluationError(f"--{what} {found.root}: none of its images has a label")
    _check_apart(first, learned.ids, second, judged.ids)
    _check_known(first, _present(learned), second, _present(judged))
    targets = np.full((len(judged.ids), len(learned.classes)), label_sets.ABSENT, np.int8)
    for column, name in enumerate(learned.classes):
        if name in judged.classes:
            targets[:, column] = judged.targets[:, judged.classes.index(name)]
    splits = ((first, learned.ids, learned.targets), (second, judged.ids, targets))
    train, val = (Split(found, ids, np.full(len(ids), -1), learned.classes, wanted) for found, ids, wanted in splits)
    return train, val


def _present(sets: LabelSets) -> list[str]:
    """The classes of which some image is."""
    shown = (sets.targets == label_sets.PRESENT).any(axis=0)
    return [sets.classes[column] for column in np.flatnonzero(shown)]


def _check_apart(first: Manifest, train_ids: np.ndarray, second: Manifest, val_ids: np.ndarray) -> None:
    if first.root == second.root and len(np.intersect1d(train_ids, val_ids)):
        raise EvaluationError(f"--val {second.root}: holds images of --train; give others to judge by")


def _check_known(first: Manifest, known: list[str], second: Manifest, used: list[str]) -> None:
    if unseen := [name for name in used if name not in set(known)]:
        some = ", ".join(unseen[:_EXAMPLES])
        raise EvaluationError(
            f"--val {second.root}: {len(unseen)} of its classes have no image in --train {first.root}: {some}"
        )


def _split(what: str, manifest: Manifest, ids: np.ndarray, labelled: bool) -> Split:
    found = manifest.labels[ids].astype(np.int64)
    if not labelled:
        return Split(manifest, ids, found, manifest.classes)
    if not (found >= 0).any():
        raise EvaluationError(f"--{what} {manifest.root}: has no labels; give class folders, or --labels CSV")
    return Split(manifest, ids[found >= 0], found[found >= 0], manifest.classes)
