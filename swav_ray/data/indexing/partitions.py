"""A list of samples that is too long for memory: small Parquet files in storage, each read when it is needed.

All of them but the last have equally many rows, so a sample's id says which file it is in. What is held of the list
is how many rows of each file are in which split: eight bytes a file.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from swav_ray.data.formats.names import TEST, TRAIN
from swav_ray.data.formats.rows import SCHEMA
from swav_ray.storage.place import Place, PlaceError, StorageUnavailable, place

FILE_ROWS = 4096
# Two million samples take 400 MB in each process. Up to here a list is one file, read whole, and its order is numpy's.
MOST_IN_MEMORY = 1 << 21

_HEADER = ("train", "train_labelled", "test", "test_labelled")
CACHE_BYTES = 128 << 20  # of partitions that a process holds
_THREADS = 16  # that read or write partitions; each waits for the storage nearly all the time
_TOGETHER = 64  # partitions that are read at a time
_FOLDER = 1000  # partitions in a folder


@dataclass(frozen=True, eq=False)
class Partitions:
    """The rows of a manifest in storage, with the methods of a `pa.Table` that reading samples needs.

    Args:
        folder: uri of the folder of the files.
        num_rows: of all. file_rows: of each file but the last.
        in_split: (files, 2, 2) uint16: rows of split TRAIN and TEST, all of them and those with a label.
    """

    folder: str
    num_rows: int
    file_rows: int
    in_split: np.ndarray

    @classmethod
    def of(cls, header: pa.Table, folder: str, num_rows: int, file_rows: int) -> Partitions:
        """The list that `header` was made of."""
        columns = [header[name].to_numpy() for name in _HEADER]
        return cls(folder, num_rows, file_rows, np.stack(columns, axis=1).reshape(-1, 2, 2))

    def header(self) -> pa.Table:
        """What is held of the list: a row a file."""
        return pa.table(dict(zip(_HEADER, self.in_split.reshape(-1, 4).T, strict=True)))

    @property
    def column_names(self) -> list[str]:
        return list(SCHEMA.names)

    def take(self, sample_ids: pa.Array | np.ndarray) -> pa.Table:
        """These rows in the order given. Raises IndexError, PlaceError: a file is missing or damaged."""
        ids = np.asarray(sample_ids, np.int64)
        if not len(ids):
            return SCHEMA.empty_table()
        if ids.min() < 0 or ids.max() >= self.num_rows:
            raise IndexError(f"sample ids are 0 to {self.num_rows - 1}, not {ids.min()} to {ids.max()}")
        order = np.argsort(ids, kind="stable")
        numbers, starts = np.unique(ids[order] // self.file_rows, return_index=True)
        ends = [*starts[1:].tolist(), len(ids)]
        parts = []
        for number, (start, end), table in zip(
            numbers.tolist(), zip(starts.tolist(), ends, strict=True), self._read_all(numbers.tolist()), strict=True
        ):
            parts.append(table.take(pa.array(ids[order[start:end]] - number * self.file_rows)))
        back = np.empty(len(ids), np.int64)
        back[order] = np.arange(len(ids))
        return pa.concat_tables(parts).take(pa.array(back)).combine_chunks()

    def __getitem__(self, column: str) -> pa.ChunkedArray:
        """A whole column: for commands that look at every sample. Takes memory for all rows."""
        return pa.chunked_array([chunk for table in self.tables() for chunk in table[column].chunks])

    def tables(self) -> Iterator[pa.Table]:
        """All rows, a file at a time."""
        for start in range(0, len(self.in_split), _TOGETHER):
            yield from self._read_all(list(range(start, min(start + _TOGETHER, len(self.in_split)))))

    def counts(self, split: int, *, labelled: bool = False) -> np.ndarray:
        """(files,) rows of a split, all or those with a label."""
        found: np.ndarray = self.in_split[:, split, int(labelled)]
        return found

    def sizes(self) -> np.ndarray:
        """(files,) rows of each."""
        found: np.ndarray = self.in_split[:, :, 0].sum(axis=1, dtype=np.uint16)
        return found

    def rows_of(self, numbers: np.ndarray, split: int, *, labelled: bool = False) -> Iterator[np.ndarray]:
        """For each of these files the rows (N,) ascending of a split, all or those with a label."""
        return (np.flatnonzero(_chosen(table, split, labelled)) for table in self._read_all(numbers.tolist()))

    def _read_all(self, numbers: list[int]) -> Iterator[pa.Table]:
        """These files in order; some of those that are not in memory are read at a time."""
        folder, sizes = place(self.folder), self.sizes().tolist()
        with ThreadPoolExecutor(_THREADS, "partitions") as pool:
            for start in range(0, len(numbers), _TOGETHER):
                files = {number: _file(folder, number) for number in numbers[start : start + _TOGETHER]}
                held = {number: _CACHE.get(self.folder, number) for number in files}
                read = {number: pool.submit(file.read_bytes) for number, file in files.items() if held[number] is None}
                for number, file in files.items():
                    table = held[number]
                    if table is None:
                        table = _table(file, read[number], sizes[number])
                        _CACHE.put(self.folder, number, table)
                    yield table


class PartitionWriter:
    """Writes a list of samples in partitions.

    Args:
        folder: of the files; what lies there of an earlier try is written over.
        file_rows: rows of a file, at most 65,535.
    """

    def __init__(self, folder: Place, file_rows: int = FILE_ROWS) -> None:
        self._folder, self._file_rows = folder, file_rows
        self._pending: list[pa.Table] = []
        self._rows = 0
        self._counts: list[np.ndarray] = []
        self._pool = ThreadPoolExecutor(_THREADS, "partitions")
        self._writing: list[Future[None]] = []

    def write(self, rows: pa.Table) -> None:
        """Appends rows with `rows.SCHEMA`, in order of their ids."""
        self._pending.append(rows)
        self._rows += rows.num_rows
        while self._rows >= self._file_rows:
            self._flush(self._file_rows)

    def close(self) -> Partitions:
        """The list, once all files are written; raises what failed."""
        if self._rows:
            self._flush(self._rows)
        self._wait(0)
        self._pool.shutdown()
        counts = np.array(self._counts, np.uint16).reshape(-1, 2, 2)
        total = int(counts[:, :, 0].sum(dtype=np.int64))
        return Partitions(self._folder.uri, total, self._file_rows, counts)

    def _flush(self, rows: int) -> None:
        joined = pa.concat_tables(self._pending) if len(self._pending) > 1 else self._pending[0]
        table, rest = joined.slice(0, rows).combine_chunks(), joined.slice(rows)
        self._pending, self._rows = [rest], rest.num_rows
        both = [[int(_chosen(table, split, labelled).sum()) for labelled in (False, True)] for split in (TRAIN, TEST)]
        file = _file(self._folder, len(self._counts))
        self._counts.append(np.array(both))
        self._writing.append(self._pool.submit(_write, file, table))
        self._wait(4 * _THREADS)

    def _wait(self, most: int) -> None:
        while len(self._writing) > most:
            self._writing.pop(0).result()


def _chosen(table: pa.Table, split: int, labelled: bool) -> np.ndarray:
    chosen: np.ndarray = table["split"].to_numpy() == split
    return chosen & (table["label"].to_numpy() >= 0) if labelled else chosen


def _file(folder: Place, number: int) -> Place:
    return folder / f"{number // _FOLDER:04d}" / f"{number:09d}.parquet"


def _write(file: Place, table: pa.Table) -> None:
    sink = io.BytesIO()
    # Checksums of pages: a damaged file must not become other samples.
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    file.write_bytes(sink.getvalue())


def _table(file: Place, data: Future[bytes], rows: int) -> pa.Table:
    try:
        with pq.ParquetFile(pa.BufferReader(data.result()), page_checksum_verification=True) as parquet:
            # With Arrow's threads a process now and then aborts when it ends: it may end while they still run.
            table = parquet.read(use_threads=False).combine_chunks()
        if table.num_rows == rows:
            return table
        reason = f"is damaged (it has {table.num_rows} samples, not {rows})"
    except FileNotFoundError:
        reason = "is missing"
    except StorageUnavailable:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        reason = f"is damaged ({error})"
    raise PlaceError(f"{file}: a part of the list of images {reason}; index the place again, or restore this file")


class _Cache:
    """Partitions that this process has read, the last used ones; shared by its threads."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._tables: OrderedDict[tuple[str, int], pa.Table] = OrderedDict()
        self._lock = Lock()

    def get(self, folder: str, number: int) -> pa.Table | None:
        with self._lock:
            if (folder, number) in self._tables:
                self._tables.move_to_end((folder, number))
            return self._tables.get((folder, number))

    def put(self, folder: str, number: int, table: pa.Table) -> None:
        with self._lock:
            if (folder, number) in self._tables:
                return
            self._tables[folder, number] = table
            self._bytes += table.nbytes
            while self._bytes > self._most and len(self._tables) > 1:
                self._bytes -= self._tables.popitem(last=False)[1].nbytes


_CACHE = _Cache(CACHE_BYTES)
