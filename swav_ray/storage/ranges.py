"""Reads many files or byte ranges, with neighbours in one request; a file as a stream of range reads."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from swav_ray.storage.changed import ChangedBytes
from swav_ray.storage.place import Place

LARGEST_GAP = 64 << 10  # bytes read in vain rather than ask twice
LARGEST_READ = 8 << 20  # bytes of one merged request

Answer = TypeVar("Answer")
Span = tuple[int, int, int]  # (position in the answer, offset, length); offset -1: the whole file


def read_spans(
    root: Place, names: Sequence[str], spans: Sequence[Span], newest: float = 0.0
) -> Iterator[bytes | Exception]:
    """The bytes of each span of the file of that name, or what went wrong with it; in order, as by `Place.read_ahead`.

    ``spans[i]`` belongs to ``names[i]`` and its position must be i. Raises StorageUnavailable only.
    """
    groups = sorted(_merged(names, spans), key=lambda found: min(found[1])[0])  # by first use
    answers = root.read_ahead([(name, _range_of(group)) for name, group in groups], newest)
    parts = (_cut(root / name, group, answer) for (name, group), answer in zip(groups, answers, strict=True))
    return in_order([[position for position, _, _ in group] for _, group in groups], parts)


def in_order(positions: Sequence[Sequence[int]], answers: Iterator[Sequence[Answer]]) -> Iterator[Answer]:
    """Single answers by their positions 0, 1, ..., from answers that come in groups.

    The n-th of ``answers`` has those of ``positions[n]``. A group is asked for when its first position is due, so
    groups should come in the order of their first positions.
    """
    groups = zip(positions, answers, strict=True)
    held: dict[int, Answer] = {}
    for position in range(sum(map(len, positions))):
        while position not in held:
            held.update(zip(*next(groups), strict=True))
        yield held.pop(position)


def _merged(names: Sequence[str], spans: Sequence[Span]) -> Iterator[tuple[str, list[Span]]]:
    """Spans of one request each: whole files, and runs of spans that lie close together in one file."""
    by_name: dict[str, list[Span]] = {}
    for name, span in zip(names, spans, strict=True):
        by_name.setdefault(name, []).append(span)
    for name, group in by_name.items():
        run: list[Span] = []
        end = 0
        for span in sorted(group, key=lambda s: s[1]):
            _, offset, length = span
            whole = offset < 0  # sorted before any range
            near = offset - end <= LARGEST_GAP and offset + length - run[0][1] <= LARGEST_READ if run else True
            if run and not whole and (run[0][1] < 0 or not near):
                yield name, run
                run = []
            run.append(span)
            end = max(end, offset + length)
        yield name, run


def _range_of(group: Sequence[Span]) -> tuple[int, int] | None:
    """Offset and length of the one request for spans that lie together; None: the whole file."""
    start = group[0][1]
    return None if start < 0 else (start, max(offset + length for _, offset, length in group) - start)


def _cut(path: Place, group: Sequence[Span], answer: bytes | Exception) -> list[bytes | Exception]:
    """The spans' own bytes of what their request gave."""
    if isinstance(answer, Exception):
        return [answer] * len(group)
    start = max(0, group[0][1])
    out: list[bytes | Exception] = []
    for _, offset, length in group:
        found = answer if offset < 0 else answer[offset - start : offset - start + length]
        if len(found) < length:
            out.append(EOFError(f"{path}: gave {len(found):,} bytes of the {length:,} it had when it was indexed"))
        else:
            out.append(ChangedBytes(found) if isinstance(answer, ChangedBytes) else found)
    return out


class RangeFile(io.RawIOBase):
    """A file on S3 (or local) as Python's and Arrow's readers want it: seekable, each read one range request."""

    def __init__(self, path: Place, size: int) -> None:
        super().__init__()
        self._path, self._size, self._position = path, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._position)
        data = self._path.read_range(self._position, left if size < 0 else min(size, left))
        self._position += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
