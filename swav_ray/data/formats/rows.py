"""The columns of a manifest, and how a source fills in those that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

SCHEMA = pa.schema(
    [
        ("uri", pa.string()),  # relative to the manifest's root
        ("offset", pa.int64()),  # bytes into the file; -1: the whole file
        ("length", pa.int64()),  # bytes; -1 if not known
        ("row_group", pa.int32()),  # of a Parquet file; else -1
        ("row", pa.int32()),  # in the row group, or in an IDX file; else -1
        ("label", pa.int32()),  # -1: none
        ("split", pa.int8()),  # TRAIN or TEST
        ("content", pa.uint64()),  # equal for byte-identical images (contents.py); 0: not known
    ]
)


@dataclass(frozen=True)
class Rows:
    """What an indexer found: a column is an array of the samples, or None for the value that means absent.

    ``classes`` names the labels of one file; ``notes`` are lines for the user.
    """

    uri: Any
    offset: Any = None
    length: Any = None
    row_group: Any = None
    row: Any = None
    label: Any = None
    split: Any = None
    content: Any = None
    classes: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def table(self) -> pa.Table:
        """The rows with SCHEMA, each column in one chunk."""
        columns = []
        for name, kind in zip(SCHEMA.names, SCHEMA.types, strict=True):
            value = getattr(self, name)
            if value is None:
                value = np.full(len(self.uri), 0 if name in ("split", "content") else -1, kind.to_pandas_dtype())
            if isinstance(value, pa.ChunkedArray):
                value = value.combine_chunks()
                columns.append(value.cast(kind))
            else:
                columns.append(pa.array(value, kind))
        return pa.Table.from_arrays(columns, schema=SCHEMA)


@dataclass(frozen=True)
class RowStream:
    """The samples of a place in the order of their ids, in bounded memory.

    ``tables`` gives them, anew each time, as tables with SCHEMA. ``classes`` names the labels; ``notes`` are lines for
    the user.
    """

    num_rows: int
    tables: Callable[[], Iterator[pa.Table]]
    classes: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def table(self) -> pa.Table:
        """All rows, each column in one chunk."""
        return pa.concat_tables([*self.tables(), SCHEMA.empty_table()]).combine_chunks()
