"""Rows that were laid aside with their labels as text until all labels were known."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from swav_ray.data.formats.classes import Classes
from swav_ray.data.formats.rows import SCHEMA, RowStream
from swav_ray.data.indexing.temporary import Spool

WORD = "word"  # the column, beside those of a manifest, of labels as text


def labelled(rows: Spool, classes: Classes, notes: tuple[str, ...], *, column: str = WORD) -> RowStream:
    """The rows with the labels that their words in ``column`` have."""

    def tables() -> Iterator[pa.Table]:
        for table in rows.tables():
            label = classes.encode(table[column])
            yield table.select(SCHEMA.names).set_column(SCHEMA.get_field_index("label"), SCHEMA.field("label"), label)

    return RowStream(rows.num_rows, tables, classes.names, (*notes, *classes.notes))
