"""Labels by the names of images, for more of both than memory holds.

Names of images and lines of labels are sorted together, so that those of one name meet. What is found is sorted by
sample id. A name is the path, the file name, or that without its suffix, if it is that of only one image; the first of
these that fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from swav_ray.data.indexing.external_sort import ExternalSort, SortedRows

_PATH, _FILE, _STEM, _LINE, _MORE = range(5)  # kinds of rows: names of images; the first label of a line, its others
_DIGITS = 19  # of a sample id as text
_EXAMPLES = 3
_CHUNK = 1 << 16  # rows


@dataclass
class FoundLabels:
    """Labels of samples.

    Attributes:
        words: labels, each once. used: (words,) which of them an image has.
        unknown: lines whose name is no image's. examples: the first of these names, by their lines.
        any_found: whether a name is an image's, even without a label.
    """

    words: list[str]
    used: np.ndarray
    unknown: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)
    any_found: bool = False
    _rows: SortedRows | None = None

    def of_tables(self, sizes: Iterable[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For tables of so many samples: (N,) rows of those with labels, ascending, and (N,) numbers of their words.

        A row comes once for each of its labels, the same one perhaps several times.
        """
        parts = ((_ids(table), table["word"].to_numpy()) for table in (self._rows.tables() if self._rows else ()))
        ids, words = np.empty(0, np.int64), np.empty(0, np.int32)
        start = 0
        for size in sizes:
            while not len(ids) or ids[-1] < start + size:
                if (part := next(parts, None)) is None:
                    break
                ids, words = np.concatenate([ids, part[0]]), np.concatenate([words, part[1]])
            end = np.searchsorted(ids, start + size)
            yield ids[:end] - start, words[:end]
            ids, words, start = ids[end:], words[end:], start + size


def join_labels(images: Iterable[pa.Array], lines: Iterable[tuple[str, set[str]]]) -> FoundLabels:
    """The labels of images by their names.

    Args:
        images: paths (N,), chunk after chunk, in the order of their sample ids.
        lines: names and their labels. Each different label is held.
    """
    sort = ExternalSort()
    _add_images(sort, images)
    words = _add_lines(sort, lines)
    return _found(sort.sorted(), words)


def _add_images(sort: ExternalSort, images: Iterable[pa.Array]) -> None:
    start = 0
    for paths in images:
        files = pc.replace_substring_regex(paths, r"(?s)^.*/", "")
        stems = pc.replace_substring_regex(files, r"(?s)^(.+)\.[^.]+$", r"\1")
        ids = np.arange(start, start + len(paths))
        for kind, names in ((_PATH, paths), (_FILE, files), (_STEM, stems)):
            sort.add(_batch(names, np.full(len(paths), kind), ids, np.full(len(paths), -1)))
        start += len(paths)


def _batch(names: pa.Array, kinds: np.ndarray, ids: np.ndarray, words: np.ndarray) -> pa.RecordBatch:
    columns = {"kind": pa.array(kinds, pa.int8()), "id": pa.array(ids, pa.int64()), "word": pa.array(words, pa.int32())}
    return pa.record_batch({"name": names, **columns})


def _add_lines(sort: ExternalSort, lines: Iterable[tuple[str, set[str]]]) -> list[str]:
    """Adds the lines; their ids are their numbers. Returns the words."""
    numbers: dict[str, int] = {}
    names: list[str] = []
    rows: list[tuple[int, int, int]] = []

    def add() -> None:
        kinds, ids, words = np.array(rows, np.int64).reshape(-1, 3).T
        sort.add(_batch(pa.array(names, pa.string()), kinds, ids, words))
        names.clear()
        rows.clear()

    for line, (name, labels) in enumerate(lines):
        for place, label in enumerate(sorted(labels) or [None]):
            word = -1 if label is None else numbers.setdefault(label, len(numbers))
            names.append(name)
            rows.append((_MORE if place else _LINE, line, word))
        if len(rows) >= _CHUNK:
            add()
    if rows:
        add()
    return list(numbers)


def _found(rows: SortedRows, words: list[str]) -> FoundLabels:
    found, by_id = FoundLabels(words, np.zeros(len(words), bool)), ExternalSort()
    for table in _whole_names(rows.tables()):
        names = table["name"].combine_chunks()
        kinds, ids, word = (table[column].to_numpy() for column in ("kind", "id", "word"))
        changes = pc.not_equal(names.slice(1), names.slice(0, len(names) - 1)).to_numpy(zero_copy_only=False)
        groups = np.concatenate([[0], np.cumsum(changes)])
        samples = _samples(groups, kinds, ids)[groups]
        unknown = np.flatnonzero((kinds == _LINE) & (samples < 0))
        found.unknown += len(unknown)
        first = unknown[np.argsort(ids[unknown])[:_EXAMPLES]].tolist()
        found.examples = sorted([*found.examples, *((int(ids[row]), names[row].as_py()) for row in first)])[:_EXAMPLES]
        known = (kinds >= _LINE) & (samples >= 0)
        found.any_found |= bool(known.any())
        chosen = known & (word >= 0)
        found.used[word[chosen]] = True
        if chosen.any():
            keys = pc.utf8_lpad(pa.array(samples[chosen]).cast(pa.string()), _DIGITS, "0")
            by_id.add(pa.record_batch({"name": keys, "word": pa.array(word[chosen])}))
    if found.used.any():
        found._rows = by_id.sorted()
    return found


def _samples(groups: np.ndarray, kinds: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """(G,) the sample that the name of each group stands for, -1: none."""
    is_image = kinds < _LINE
    at, size = groups[is_image] * _LINE + kinds[is_image], (int(groups[-1]) + 1) * _LINE
    counts = np.bincount(at, minlength=size).reshape(-1, _LINE)
    sums = np.bincount(at, weights=ids[is_image], minlength=size).reshape(-1, _LINE).astype(np.int64)
    samples = np.full(len(counts), -1)
    for kind in (_STEM, _FILE, _PATH):
        samples = np.where(counts[:, kind] == 1, sums[:, kind], samples)
    return samples


def _whole_names(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, cut so that those of one name are in one table."""
    held: list[pa.Table] = []
    for table in tables:
        if held and held[0]["name"][0].as_py() != table["name"][0].as_py():
            yield pa.concat_tables(held)
            held = []
        start = pc.index(table["name"], table["name"][-1]).as_py()
        if start:
            yield pa.concat_tables([*held, table.slice(0, start)])
            held = []
        held.append(table.slice(start))
    if held:
        yield pa.concat_tables(held)


def _ids(table: pa.Table) -> np.ndarray:
    found: np.ndarray = table["name"].cast(pa.int64()).to_numpy()
    return found
