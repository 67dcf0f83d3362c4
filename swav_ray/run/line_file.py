"""A file of JSON lines that grows while a run lives, local or on S3.

S3 has no appending, so there lines wait in memory until `flush`; on a disk each is there at once.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable, Sequence
from io import BufferedWriter
from typing import Any

from swav_ray.storage.place import Place, persistently

Record = dict[str, Any]


def read_lines(file: Place) -> list[Record]:
    """The lines of a file; a last line cut short by a crash is left out. None if there is no file."""
    try:
        text = file.read_bytes().decode()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.split("\n")[:-1] if line]


class LineFile:
    """Writes `records` anew, then appends; `flush` may be called from another thread.

    Args:
        file: its place.
        records: what it holds from before.
        warn: is called with a line when the disk takes nothing; lines wait in memory until it does.
    """

    def __init__(self, file: Place, records: Sequence[Record], warn: Callable[[str], None] = lambda _: None) -> None:
        self._place, self._warn = file, warn
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._lines = [_line(record) for record in records]
        text = "".join(self._lines)
        persistently(lambda: file.write_bytes(text.encode()), warn)
        self._file: BufferedWriter | None = None
        if file.is_local:
            # Held open: what a worker that outlived its run would still append goes to the file that it knew.
            self._file = file.local_path.open("ab")
            self._good = self._file.tell()
            self._lines = []

    def append(self, record: Record) -> None:
        """One line."""
        with self._lock:
            self._lines.append(_line(record))
            if self._file is not None:
                try:
                    self._write_lines(self._file)
                except OSError as error:
                    if len(self._lines) == 1:
                        self._warn(f"{self._place}: {error.strerror}; its lines wait in memory")

    def flush(self) -> None:
        """Makes everything so far durable. Raises OSError.

        `append` waits for no disk and no upload meanwhile: unavailable storage must not hold up a step.
        """
        with self._flushing:
            with self._lock:
                if self._file is not None:
                    self._write_lines(self._file)
                text = "".join(self._lines)
            if self._file is not None:
                os.fsync(self._file.fileno())
            else:
                self._place.write_bytes(text.encode())

    def close(self) -> None:
        """Flushes and lets go of the file."""
        self.flush()
        if self._file is not None:
            self._file.close()

    def _write_lines(self, file: BufferedWriter) -> None:
        """Appends what waits; a line that a full disk cut short is taken back first."""
        if not self._lines:
            return
        descriptor = file.fileno()
        os.ftruncate(descriptor, self._good)
        data = "".join(self._lines).encode()
        written = os.write(descriptor, data)
        if written < len(data):
            os.ftruncate(descriptor, self._good)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._good += written
        self._lines = []


def _line(record: Record) -> str:
    return json.dumps(record) + "\n"
