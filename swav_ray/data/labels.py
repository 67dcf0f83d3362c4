"""Labels from a CSV of name,label beside images that have none of their own, as in a flat bucket.

A name is a sample's path below the place, its file name, or that without its suffix, as long as it is the only one.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from swav_ray.data.manifest import Manifest
from swav_ray.storage.errors import PlaceError
from swav_ray.storage.place import Place

_EXAMPLES = 3


def _read_labels(where: Place) -> list[tuple[str, str]]:
    """Names and labels of a CSV, in order; a header of name,label is optional.

    Raises:
        PlaceError: the file is missing, is not UTF-8 text, or a line has not two columns.
    """
    try:
        text = where.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise PlaceError(f"{where}: no such file; give a CSV of name,label") from None
    except UnicodeDecodeError:
        raise PlaceError(f"{where}: is not UTF-8 text; give a CSV of name,label") from None
    rows = []
    try:
        for number, row in enumerate(csv.reader(io.StringIO(text, newline="")), start=1):
            if not row:
                continue
            if len(row) != 2:
                raise PlaceError(f"{where}: line {number} has {len(row)} columns instead of name,label")
            if label := row[1].strip():  # an empty one is none
                rows.append((row[0].strip(), label))
    except csv.Error as error:
        raise PlaceError(f"{where}: is no CSV of name,label ({error})") from None
    if rows and [word.lower() for word in rows[0]] == ["name", "label"]:
        rows = rows[1:]
    if not rows:
        raise PlaceError(f"{where}: holds no labels; give a CSV of name,label")
    return rows


def with_labels(manifest: Manifest, where: Place) -> tuple[Manifest, tuple[str, ...]]:
    """The manifest with one label an image from a CSV, in place of its own, and notes for the user.

    Images that the CSV does not name have no label. Numbers are sorted as numbers.

    Raises:
        PlaceError: the file is missing or is no CSV of name,label; no name is an image's; or an image has two labels.
    """
    rows, notes = _samples(manifest, where)
    label_of: dict[int, str] = {}
    for sample, label in rows:
        if label_of.setdefault(sample, label) != label:
            name = manifest.uri_of(sample)
            raise PlaceError(f"{where}: {name} has the labels {label_of[sample]} and {label}; this protocol needs one")
    classes = _sorted(set(label_of.values()))
    rank = {name: number for number, name in enumerate(classes)}
    labels = np.full(len(manifest), -1, np.int32)
    labels[list(label_of)] = [rank[label] for label in label_of.values()]
    index = manifest.table.schema.get_field_index("label")
    table = manifest.table.set_column(index, "label", pa.array(labels))
    return dataclasses.replace(manifest, table=table, classes=classes), notes


def _samples(manifest: Manifest, where: Place) -> tuple[list[tuple[int, str]], tuple[str, ...]]:
    """Sample ids and labels of a CSV's lines, and a note of the names that are no image's."""
    paths = manifest.table["uri"].to_pylist()
    known = _names(paths)
    found, unknown = [], []
    for name, label in _read_labels(where):
        sample = known.get(name)
        if sample is None:
            unknown.append(name)
        else:
            found.append((sample, label))
    if not found:
        some = ", ".join(unknown[:_EXAMPLES])
        raise PlaceError(f"{where}: none of its names ({some}) is an image of {manifest.root}, such as {paths[0]}")
    without = len(paths) - len({sample for sample, _ in found})
    notes = []
    if unknown:
        some = ", ".join(unknown[:_EXAMPLES])
        notes.append(f"{where}: {len(unknown):,} names are no image of {manifest.root}: {some}")
    if without:
        notes.append(f"{where}: names no label for {without:,} of {len(paths):,} images")
    return found, tuple(notes)


def _names(paths: Sequence[str]) -> dict[str, int]:
    """Every name that stands for exactly one sample: its path, its file name, and that without a suffix."""
    known: dict[str, int] = {}
    files = [PurePosixPath(path) for path in paths]
    for names in ([file.stem for file in files], [file.name for file in files], paths):
        counts = Counter(names)
        known |= {name: sample for sample, name in enumerate(names) if counts[name] == 1}
    return known


def _sorted(labels: set[str]) -> list[str]:
    try:
        return sorted(labels, key=lambda label: (float(label), label))
    except ValueError:
        return sorted(labels)
