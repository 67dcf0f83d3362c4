"""The columns of a manifest, and how a source fills in those that it has."""

from __future__ import annotations

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

    ``classes`` names the labels; ``notes`` are lines for the user.
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


def concatenate(parts: list[Rows]) -> Rows:
    """The rows of several files as one; all have the same classes."""
    tables = [part.table() for part in parts]
    joined = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    columns = {name: joined[name] for name in SCHEMA.names}
    notes = tuple(note for part in parts for note in part.notes)
    return Rows(**columns, classes=parts[0].classes if parts else [], notes=notes)
