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
from swav_ray.data import holdout, labels, manifest
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
        labels: (N,) int64 into `classes`; -1 without one, if such images were asked for.
        classes: names of the labels, the same list for both splits of an evaluation.
    """

    manifest: Manifest
    ids: np.ndarray
    labels: np.ndarray
    classes: list[str]

    def about(self) -> dict[str, Any]:
        """Which images these are, equal for equal ones: what a result says of what it was measured on."""
        named = json.dumps([self.classes, self.labels.tolist()]).encode()
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
        keep = holdout.evenly(np.arange(len(self.ids)), most)
        return Split(self.manifest, self.ids[keep], self.labels[keep], self.classes)


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

    Returns:
        The two splits and notes for the user.

    Raises:
        EvaluationError: there is no validation split, a split has no labels, or classes of `val` are not in `train`.
        PlaceError: a place cannot be read.
    """
    notes: list[str] = []

    def read(uri: str) -> Manifest:
        found = manifest.load_or_build(uri, cache, progress=progress)
        notes.extend(found.notes)
        if labels_csv:
            found, said = labels.with_labels(found, place(labels_csv))
            notes.extend(said)
        return found

    first = read(train)
    second = read(val) if val else first
    test_ids = second.test_ids()
    if not len(test_ids):
        if not val and labelled:
            raise EvaluationError(f"--train {train}: has no test split; give --val PLACE")
        test_ids = second.train_ids()
    return *_pair(first, first.train_ids(), second, test_ids, labelled), notes


def of_run(run_dir: Place, *, labelled: bool = True) -> tuple[Split, Split, list[str]]:
    """What a run trained on, and what it held out.

    Raises:
        EvaluationError: it held nothing out, or its images have no labels. FileNotFoundError: it has not begun.
    """
    config = settings.from_yaml((run_dir / layout.CONFIG).read_bytes().decode(), Config(), str(run_dir / layout.CONFIG))
    samples = manifest.load(run_dir / layout.MANIFEST)
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
    if first.root == second.root and len(np.intersect1d(train_ids, val_ids)):
        raise EvaluationError(f"--val {second.root}: holds images of --train; give others to judge by")
    rank = {name: label for label, name in enumerate(first.classes)}
    if unseen := [name for name in second.classes if name not in rank]:
        used = {second.classes[label] for label in np.unique(second.labels[val_ids]) if label >= 0}
        if unseen := [name for name in unseen if name in used]:
            some = ", ".join(unseen[:_EXAMPLES])
            raise EvaluationError(
                f"--val {second.root}: {len(unseen)} of its classes are not in --train {first.root}: {some}"
            )
    val = _split("val", second, val_ids, labelled)
    # A name that only images without a part in this have may be missing: it is never looked up.
    own = np.array([rank.get(name, -1) for name in second.classes], np.int64)
    return train, Split(second, val.ids, own[val.labels], first.classes)


def _split(what: str, manifest: Manifest, ids: np.ndarray, labelled: bool) -> Split:
    found = manifest.labels[ids].astype(np.int64)
    if not labelled:
        return Split(manifest, ids, found, manifest.classes)
    if not (found >= 0).any():
        raise EvaluationError(f"--{what} {manifest.root}: has no labels; give class folders, or --labels CSV")
    return Split(manifest, ids[found >= 0], found[found >= 0], manifest.classes)
