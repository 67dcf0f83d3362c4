"""From the labels that a place's files give, as text, to numbers: what is seen of them is held, up to MOST_CLASSES."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from swav_ray.data.formats.names import MOST_CLASSES, without_negative


@dataclass(frozen=True)
class Classes:
    """``names`` of the labels, and the number of each word, -1 if it is no label; ``notes`` are lines for the user."""

    names: list[str]
    label_of: Callable[[str], int]
    notes: tuple[str, ...] = ()

    def encode(self, words: pa.Array | pa.ChunkedArray) -> pa.Array:
        """Labels (N,) int32 of words (N,), -1 for null."""
        return mapped(words, self.label_of, pa.int32(), -1)


NO_CLASSES = Classes([], lambda _: -1)


def mapped(
    words: pa.Array | pa.ChunkedArray, number_of: Callable[[str], int], kind: pa.DataType, null: int
) -> pa.Array:
    """The number of each word, asked for once a word."""
    whole = words.combine_chunks() if isinstance(words, pa.ChunkedArray) else words
    codes = whole.dictionary_encode()
    numbers = [number_of(word) for word in codes.dictionary.to_pylist()]
    found = np.array([*numbers, null], kind.to_pandas_dtype())
    return pa.array(found[codes.indices.fill_null(-1).to_numpy(zero_copy_only=False)], kind)


class Words:
    """Collects the labels of a place's samples."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._are_too_many = False
        self._are_numbers = True
        self._top = -1
        self.are_none = True

    def add(self, words: Iterable[str | None], *, are_numbers: bool = False) -> None:
        """Takes the words, once each, of some samples; whether all of them stand for whole numbers."""
        found = {word for word in words if word is not None}
        self._are_numbers &= are_numbers
        if not found:
            return
        self.are_none = False
        if self._are_numbers:
            self._top = max(self._top, *map(int, found))
        if not self._are_too_many:
            self._seen |= found
            self._are_too_many = len(self._seen) > MOST_CLASSES

    def __len__(self) -> int:
        """How many there are, or more than MOST_CLASSES."""
        return len(self._seen)

    def as_names(self, *, sort_numbers: bool = False) -> Classes:
        """Words are numbered in their order, or whole numbers in theirs; all whole, those below 0 are no labels."""
        words = sorted(word for word in without_negative(self._seen) if word is not None)
        are_numbers = sort_numbers and all(word.isdecimal() for word in words)
        return self._numbered(words, int if are_numbers else None)

    def as_folders(self) -> Classes:
        """Words are numbered in their order. A single one says nothing."""
        return self._numbered(list(self._seen), None) if len(self) > 1 else NO_CLASSES

    def as_labels(self, names: list[str]) -> Classes:
        """Numbers stay what they are, up to MOST_CLASSES or the names there are.

        Larger ones, and words, are numbered in their order. A number below 0 is no label.
        """
        if not self._are_numbers:
            return self.as_names()
        if self._top < max(MOST_CLASSES, len(names)):
            classes = names if len(names) > self._top else [str(label) for label in range(self._top + 1)]
            return Classes(classes, lambda word: max(-1, int(word)))
        numbers = {str(int(word)) for word in self._seen if int(word) >= 0}
        found = self._numbered(list(numbers), int)
        return Classes(found.names, lambda word: found.label_of(str(int(word))), found.notes)

    def _numbered(self, words: list[str], order: Callable[[str], int] | None) -> Classes:
        if self._are_too_many:
            note = f"left out labels: there are more than {MOST_CLASSES:,} of them, so they are names and no classes"
            return Classes([], NO_CLASSES.label_of, (f"{note}; for example {min(words)}",))
        classes = sorted(words, key=order)
        rank = {name: label for label, name in enumerate(classes)}
        return Classes(classes, lambda word: rank.get(word, -1))
