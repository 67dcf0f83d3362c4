"""Sorting more names than memory holds: sorted runs in temporary files, merged a block at a time.

What fits in one run never touches the disk.
"""

from __future__ import annotations

import bisect
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from swav_ray.data.indexing.temporary import WRITTEN, Folder

RUN_ROWS = 1 << 19  # sorted in memory: about 50 MB, and as much again while they are sorted
_BLOCK_ROWS = 1 << 12  # of a run that is read at a time
_MOST_RUNS = 128  # merged at a time; their blocks are about 50 MB


class Files(Protocol):
    """Where runs are written; they are gone with it."""

    def next_file(self) -> Path: ...

    def release(self, paths: Iterable[Path]) -> None:
        """These files are not needed any more."""


@dataclass(frozen=True)
class SortedRows:
    """Tables in the order of their column ``name``, bytewise; `tables` gives them anew each time.

    ``first`` and ``last`` are the first and the last name.
    """

    num_rows: int
    first: str
    last: str
    _in_memory: pa.Table | None
    _runs: tuple[_Run, ...] = ()
    _files: Files | None = None  # a Folder is removed when nobody holds it

    def tables(self) -> Iterator[pa.Table]:
        """All rows, at most about half a million at a time."""
        if self._in_memory is not None:
            yield self._in_memory
        else:
            yield from _merged(self._runs)


class ExternalSort:
    """Takes record batches with a string column ``name`` in any order. All have the same schema.

    Args:
        files: of the runs; None: temporary ones, made when they are needed.
        runs: that an earlier sort has written, as its `runs` had them.
    """

    def __init__(self, files: Files | None = None, runs: Sequence[Sequence[Any]] = ()) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0
        self._runs = [_Run(Path(path), *rest) for path, *rest in runs]
        self._files = files

    def add(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self._rows += batch.num_rows
        if self._rows >= RUN_ROWS:
            self.spill()

    def spill(self) -> None:
        """Writes what is held to a run. Then joins the smallest runs if there are too many to be merged at once."""
        if self._rows:
            self._runs.append(_write([self._take()], self._files_for_runs()))
        if len(self._runs) > _MOST_RUNS:
            smallest = sorted(self._runs, key=lambda run: run.rows)[:_MOST_RUNS]
            joined = _write(_merged(smallest), self._files_for_runs())
            self._runs = [joined, *(run for run in self._runs if run not in smallest)]
            self._files_for_runs().release(run.path for run in smallest)

    def runs(self) -> list[list[Any]]:
        """The runs that are written: of each the path, rows, first and last name."""
        return [[str(run.path), run.rows, run.first, run.last] for run in self._runs]

    def sorted(self) -> SortedRows:
        """All that was added; at least one row."""
        if not self._runs:
            table = self._take()
            return SortedRows(len(table), _name(table, 0), _name(table, -1), table)
        self.spill()
        total = sum(run.rows for run in self._runs)
        first, last = min(run.first for run in self._runs), max(run.last for run in self._runs)
        return SortedRows(total, first, last, None, tuple(self._runs), self._files)

    def _take(self) -> pa.Table:
        table = pa.Table.from_batches(self._batches)
        self._batches, self._rows = [], 0
        return table.sort_by("name").combine_chunks()

    def _files_for_runs(self) -> Files:
        self._files = self._files or Folder()
        return self._files


@dataclass(frozen=True)
class _Run:
    """A file of sorted rows."""

    path: Path
    rows: int
    first: str
    last: str


def _write(tables: Iterable[pa.Table], files: Files) -> _Run:
    path, rows, first, last = files.next_file(), 0, "", ""
    writer = None
    try:
        for table in tables:
            if writer is None:
                writer, first = pa.ipc.new_file(os.fspath(path), table.schema, options=WRITTEN), _name(table, 0)
            writer.write_table(table, max_chunksize=_BLOCK_ROWS)
            rows, last = rows + len(table), _name(table, -1)
    finally:
        if writer is not None:
            writer.close()
    return _Run(path, rows, first, last)


def _merged(runs: Iterable[_Run]) -> Iterator[pa.Table]:
    """The rows of all runs in order. A run is opened when its first name is due, so runs one after the other are
    opened one after the other.
    """
    waiting = deque(sorted(runs, key=lambda run: run.first))
    cursors: list[_Cursor] = []
    while waiting or cursors:
        if not cursors:
            cursors.append(_Cursor(waiting.popleft()))
        bound = min(cursor.last for cursor in cursors)  # all names up to it are loaded
        while waiting and waiting[0].first <= bound:
            cursors.append(_Cursor(waiting.popleft()))
            bound = min(bound, cursors[-1].last)
        parts = [cursor.take_through(bound) for cursor in cursors]
        cursors = [cursor for cursor in cursors if not cursor.has_ended]
        table = pa.concat_tables(parts)
        yield (table.sort_by("name") if len(parts) > 1 else table).combine_chunks()


class _Cursor:
    """Where the merge is in a run: a block, and the position in it."""

    def __init__(self, run: _Run) -> None:
        self._reader = pa.ipc.open_file(pa.OSFile(os.fspath(run.path)))
        self._next = 0
        self.has_ended = False
        self._load()

    def _load(self) -> None:
        if self._next == self._reader.num_record_batches:
            self.has_ended = True
            return
        self._block, self._position = pa.Table.from_batches([self._reader.get_batch(self._next)]), 0
        self.last = _name(self._block, -1)
        self._next += 1

    def take_through(self, bound: str) -> pa.Table:
        """The rows of this block with names up to ``bound``; the next block follows if that is all of it."""
        names = self._block["name"].chunk(0)
        end = bisect.bisect_right(names, bound, lo=self._position, key=lambda name: name.as_py())
        taken = self._block.slice(self._position, end - self._position)
        self._position = end
        if end == len(self._block):
            self._load()
        return taken


def _name(table: pa.Table, row: int) -> str:
    return str(table["name"][row].as_py())
