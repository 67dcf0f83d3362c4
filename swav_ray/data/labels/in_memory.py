"""Labels from a CSV of name,label beside images that have none of their own, as in a flat bucket.

A name is a sample's path below the place, its file name, or that without its suffix, as long as it is the only one.
An image with several labels has them in one cell, separated by `|`, or a line for each of them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from swav_ray.data.formats.names import without_negative
from swav_ray.data.labels.csv_file import read_rows
from swav_ray.data.manifest import Manifest
from swav_ray.storage.errors import PlaceError
from swav_ray.storage.place import Place

_EXAMPLES = 3


class SeveralLabels(PlaceError):
    """An image has several labels where one is needed."""


def _read_labels(where: Place) -> list[tuple[str, set[str]]]:
    """Names and labels of a CSV's lines, in order. Raises PlaceError, as `read_rows`."""
    sets = list(read_rows(where))
    known = {word for word in without_negative({label for _, labels in sets for label in labels}) if word is not None}
    return [(name, labels & known) for name, labels in sets]


def with_labels(manifest: Manifest, where: Place, *, keep_own: bool = False) -> tuple[Manifest, tuple[str, ...]]:
    """The manifest with one label an image from a CSV, in place of its own, and notes for the user.

    Images that the CSV does not name have no label, or with `keep_own` the one that they had.

    Raises:
        PlaceError: the file is missing or is no CSV of name,label, or no name is an image's. SeveralLabels: an image
            has two.
    """
    found, notes = read_label_sets(manifest, where)
    label_of: dict[int, str] = {}
    if keep_own:
        own = manifest.labels
        label_of = {int(sample): manifest.classes[own[sample]] for sample in np.flatnonzero(own >= 0)}
    for sample, several in found.items():
        if len(several) > 1:
            some = " and ".join(sorted(several)[:2])
            raise SeveralLabels(f"{where}: {manifest.uri_of(sample)} has the labels {some}; this protocol needs one")
        for label in several:
            label_of[sample] = label
    classes = sorted_names(set(label_of.values()))
    rank = {name: number for number, name in enumerate(classes)}
    labels = np.full(len(manifest), -1, np.int32)
    labels[list(label_of)] = [rank[label] for label in label_of.values()]
    assert isinstance(manifest.table, pa.Table)
    index = manifest.table.schema.get_field_index("label")
    table = manifest.table.set_column(index, "label", pa.array(labels))
    notes += unnamed(manifest, where, len(label_of))
    return dataclasses.replace(manifest, table=table, classes=classes), tuple(notes)


def read_label_sets(manifest: Manifest, where: Place) -> tuple[dict[int, set[str]], list[str]]:
    """The labels of each sample that a CSV names, an empty set if it has none, and a note of names that are no image's.

    Raises:
        PlaceError: the file is missing or is no CSV of name,label, or no name is an image's.
    """
    paths = manifest.table["uri"].to_pylist()
    known = _names(paths)
    found: dict[int, set[str]] = {}
    unknown = []
    for name, labels in _read_labels(where):
        if name in known:
            found.setdefault(known[name], set()).update(labels)
        else:
            unknown.append(name)
    some = ", ".join(unknown[:_EXAMPLES])
    if not found:
        raise PlaceError(f"{where}: none of its names ({some}) is an image of {manifest.root}, such as {paths[0]}")
    return found, [f"{where}: {len(unknown):,} names are no image of {manifest.root}: {some}"] if unknown else []


def samples_named(manifest: Manifest, where: Place) -> tuple[np.ndarray, list[str]]:
    """Sample ids, ascending, of a list of names, one a line, and a note of names that are no image's.

    Raises:
        PlaceError: the file is missing or no text, or no name is an image's.
    """
    try:
        names = where.read_bytes().decode("utf-8-sig").split("\n")
    except FileNotFoundError:
        raise PlaceError(f"{where}: no such file; give a list of names, one a line") from None
    except UnicodeDecodeError:
        raise PlaceError(f"{where}: is not UTF-8 text; give a list of names, one a line") from None
    names = [name.strip() for name in names if name.strip()]
    paths = manifest.table["uri"].to_pylist()
    known = _names(paths)
    found = {known[name] for name in names if name in known}
    unknown = [name for name in names if name not in known]
    some = ", ".join(unknown[:_EXAMPLES])
    if not found:
        raise PlaceError(f"{where}: none of its names ({some}) is an image of {manifest.root}, such as {paths[0]}")
    notes = [f"{where}: {len(unknown):,} names are no image of {manifest.root}: {some}"] if unknown else []
    return np.array(sorted(found), np.int64), notes


def unnamed(manifest: Manifest, where: Place, labelled: int) -> list[str]:
    """A note of the images for which a CSV names no label, if there are such images."""
    without = len(manifest) - labelled
    return [f"{where}: names no label for {without:,} of {len(manifest):,} images"] if without else []


def _names(paths: Sequence[str]) -> dict[str, int]:
    """Every name that stands for exactly one sample: its path, its file name, and that without a suffix."""
    known: dict[str, int] = {}
    files = [PurePosixPath(path) for path in paths]
    for names in ([file.stem for file in files], [file.name for file in files], paths):
        counts = Counter(names)
        known |= {name: sample for sample, name in enumerate(names) if counts[name] == 1}
    return known


def sorted_names(labels: set[str]) -> list[str]:
    """Names of classes in the order of their labels; numbers are sorted as numbers."""
    try:
        return sorted(labels, key=lambda label: (float(label), label))
    except ValueError:
        return sorted(labels)
