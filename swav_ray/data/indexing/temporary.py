"""What an index lays aside while it runs: files below TMPDIR that are gone with their owner."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

WRITTEN = pa.ipc.IpcWriteOptions(compression="zstd")
_MOST_BYTES = 64 << 20  # of a spool that are held in memory


class Folder:
    """A temporary folder that lives as long as this object."""

    def __init__(self) -> None:
        self._path = tempfile.mkdtemp(prefix="swav-ray-index-")
        self._count = 0
        weakref.finalize(self, shutil.rmtree, self._path, ignore_errors=True)

    def next_file(self) -> Path:
        self._count += 1
        return Path(self._path, f"{self._count:06d}.arrow")

    def release(self, paths: Iterable[Path]) -> None:
        """Removes files that are not needed any more."""
        for path in paths:
            path.unlink()


class Spool:
    """Tables of one schema, read again in the order in which they were added; on disk from 64 MiB on."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._held: list[pa.Table] = []
        self._bytes = 0
        self._folder: Folder | None = None
        self._files: list[Path] = []

    def add(self, table: pa.Table) -> None:
        self._held.append(table)
        self.num_rows += len(table)
        self._bytes += table.nbytes
        if self._bytes >= _MOST_BYTES:
            self._spill()

    def tables(self) -> Iterator[pa.Table]:
        """All tables, some of them joined or cut."""
        for path in self._files:
            with pa.ipc.open_file(pa.OSFile(os.fspath(path))) as reader:
                for number in range(reader.num_record_batches):
                    yield pa.Table.from_batches([reader.get_batch(number)])
        yield from self._held

    def _spill(self) -> None:
        self._folder = self._folder or Folder()
        path = self._folder.next_file()
        with pa.ipc.new_file(os.fspath(path), self._held[0].schema, options=WRITTEN) as writer:
            for table in self._held:
                writer.write_table(table)
        self._files.append(path)
        self._held, self._bytes = [], 0
