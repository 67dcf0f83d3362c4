"""Rows of a table in Parquet files of so many rows each, whole or absent: what is missing is the work that is left.

Knows nothing of what the rows mean. Any process may write any part, and the same part twice.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swav_ray.storage.place import Place


class Parts:
    """Parts of a table in a folder.

    Args:
        folder: of the files.
        rows: of the whole table. size: rows of a part; the last one may have fewer.
    """

    def __init__(self, folder: Place, rows: int, size: int) -> None:
        self.folder, self.rows, self.size = folder, rows, size

    def __len__(self) -> int:
        return -(-self.rows // self.size)

    def span(self, part: int) -> slice:
        """The rows of a part."""
        return slice(part * self.size, min((part + 1) * self.size, self.rows))

    def missing(self) -> list[int]:
        """Parts that are not there yet, or were written to be tried again."""
        there = {entry.name for entry in self.folder.list()}
        return [part for part in range(len(self)) if _name(part) not in there]

    def has(self, part: int, *, again: bool = False) -> bool:
        """Whether a part is there; `again`: written to be tried again."""
        return (self.folder / _name(part, again)).is_file()

    def to_try_again(self) -> list[int]:
        """Parts that were written to be tried again."""
        there = {entry.name for entry in self.folder.list()}
        return [part for part in range(len(self)) if _name(part, again=True) in there]

    def write(self, part: int, table: pa.Table, *, again: bool = False) -> None:
        """Writes a part, whole.

        Args:
            again: another try may do better, so this part is read now and counts as missing later.
        """
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
        (self.folder / _name(part, again)).write_bytes(sink.getvalue())
        (self.folder / _name(part, not again)).delete()

    def read(self, part: int, columns: Sequence[str] | None = None) -> pa.Table:
        """A part's rows; FileNotFoundError if it is not there."""
        for again in (False, True):
            with contextlib.suppress(FileNotFoundError):
                data = (self.folder / _name(part, again)).read_bytes()
                return pq.read_table(io.BytesIO(data), columns=None if columns is None else list(columns))
        raise FileNotFoundError(f"{self.folder / _name(part)}: is missing")

    def delete(self, part: int) -> None:
        """Removes a part; no error if it is not there."""
        for again in (False, True):
            (self.folder / _name(part, again)).delete()


def claim(about: Place, wanted: Mapping[str, Any]) -> bool:
    """Whether a folder is of what is wanted, by its file `about`, which is written if it is not there."""
    text = json.dumps(wanted, indent=1)
    if about.exists():
        return bool(json.loads(about.read_bytes()) == json.loads(text))
    about.write_bytes(text.encode())
    return True


def _name(part: int, again: bool = False) -> str:
    return f"part-{part:06d}{'-again' if again else ''}.parquet"
