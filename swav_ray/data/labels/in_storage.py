"""Labels from a CSV of name,label for a list of samples that stays in storage; in_memory.py has one in memory.

The labelled list lies in storage too, beside the one without labels, and is made once for each version of the CSV.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from swav_ray.data.formats.names import MOST_CLASSES, without_negative
from swav_ray.data.indexing.label_join import FoundLabels, join_labels
from swav_ray.data.indexing.partitions import Partitions, PartitionWriter
from swav_ray.data.labels.csv_file import read_rows
from swav_ray.data.labels.in_memory import SeveralLabels, sorted_names
from swav_ray.data.manifest import Manifest, load, save
from swav_ray.storage.errors import PlaceError
from swav_ray.storage.place import Place


def labelled_in_storage(manifest: Manifest, where: Place, cache: Place) -> Manifest:
    """The samples with one label an image from a CSV, in place of its own; images that it does not name keep theirs.

    The notes have what the CSV does not fit. Sorts the names of all images on disk, below TMPDIR.

    Args:
        manifest: a list in partitions.
        where: the CSV.
        cache: the folder of cached manifests, in which the labelled list lies afterwards.

    Raises:
        PlaceError: the file is missing or is no CSV of name,label, or no name is an image's, or it has too many
            different labels. SeveralLabels: an image has two.
    """
    assert isinstance(manifest.table, Partitions)
    try:
        version = where.stat()
    except FileNotFoundError:
        raise PlaceError(f"{where}: no such file; give a CSV of name,label") from None
    key = f"{manifest.root}\n{manifest.fingerprint}\n{where}\n{version.size}\n{version.etag_or_mtime}"
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    file = cache / f"{name}.parquet"
    with contextlib.suppress(FileNotFoundError, PlaceError):  # a damaged one, or another version's, is made anew
        return load(file)
    join = _joined(manifest, where)
    writer = PartitionWriter(cache / f"{name}-{manifest.table.file_rows}", manifest.table.file_rows)
    classes, labelled = _write(manifest, where, join, writer)
    notes = [*manifest.notes]
    if join.unknown:
        some = ", ".join(example for _, example in join.examples)
        notes.append(f"{where}: {join.unknown:,} names are no image of {manifest.root}: {some}")
    if labelled < len(manifest):
        notes.append(f"{where}: names no label for {len(manifest) - labelled:,} of {len(manifest):,} images")
    made = replace(manifest, table=writer.close(), classes=classes, notes=tuple(notes))
    return save(made, file)


def _joined(manifest: Manifest, where: Place) -> FoundLabels:
    assert isinstance(manifest.table, Partitions)
    found = join_labels((table["uri"].combine_chunks() for table in manifest.table.tables()), _lines(where))
    if not found.any_found:
        some = ", ".join(name for _, name in found.examples)
        first = manifest.rows(np.array([0]))["uri"][0].as_py()
        raise PlaceError(f"{where}: none of its names ({some}) is an image of {manifest.root}, such as {first}")
    return found


def _lines(where: Place) -> Iterator[tuple[str, set[str]]]:
    seen: set[str] = set()
    for name, labels in read_rows(where):
        seen |= labels
        if len(seen) > MOST_CLASSES:
            raise PlaceError(f"{where}: has more than {MOST_CLASSES:,} labels, so they are names and no classes")
        yield name, labels


def _write(manifest: Manifest, where: Place, found: FoundLabels, writer: PartitionWriter) -> tuple[list[str], int]:
    """Writes the rows with their labels. Returns the classes, and how many rows have a label."""
    words = without_negative(found.words)
    kept = np.zeros(len(manifest.classes), bool)
    for table, rows, _ in _labelled_rows(manifest, where, found, words):
        own = table["label"].to_numpy().copy()
        own[rows] = -1
        kept[own[own >= 0]] = True
    used = {word for word, is_used in zip(words, found.used, strict=True) if is_used and word is not None}
    classes = sorted_names(used | {name for name, is_kept in zip(manifest.classes, kept, strict=True) if is_kept})
    number = {name: label for label, name in enumerate(classes)}
    of_word = np.array([number.get(word or "", -1) for word in words], np.int32)
    of_own = np.array([*(number.get(name, -1) for name in manifest.classes), -1], np.int32)  # -1, the last: none
    labelled = 0
    for table, rows, numbers in _labelled_rows(manifest, where, found, words):
        labels = of_own[table["label"].to_numpy()]
        labels[rows] = of_word[numbers]
        labelled += int((labels >= 0).sum())
        writer.write(table.set_column(table.schema.get_field_index("label"), "label", pa.array(labels)))
    return classes, labelled


def _labelled_rows(
    manifest: Manifest, where: Place, found: FoundLabels, words: list[str | None]
) -> Iterator[tuple[pa.Table, np.ndarray, np.ndarray]]:
    """Each table of the list, its rows that the CSV has a label for, and the numbers of their words."""
    assert isinstance(manifest.table, Partitions)
    is_label, start = np.array([word is not None for word in words], bool), 0
    joined = found.of_tables(manifest.table.sizes().tolist())
    for table, (rows, numbers) in zip(manifest.table.tables(), joined, strict=True):
        rows, numbers = rows[is_label[numbers]], numbers[is_label[numbers]]
        several = np.flatnonzero((rows[1:] == rows[:-1]) & (numbers[1:] != numbers[:-1]))
        if len(several):
            row = int(rows[several[0]])
            some = " and ".join(sorted({str(words[number]) for number in numbers[rows == row]})[:2])
            raise SeveralLabels(
                f"{where}: {manifest.uri_of(start + row)} has the labels {some}; this protocol needs one"
            )
        yield table, rows, numbers
        start += len(table)
