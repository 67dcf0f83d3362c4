"""Every source fills the same columns; what it does not know, says so."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from swav_ray.data.formats.rows import SCHEMA, Rows, RowStream


def test_a_column_that_a_source_does_not_have_is_absent_and_the_split_train() -> None:
    table = Rows(uri=["a", "b"], length=pa.chunked_array([[5], [6]])).table()
    assert table.schema == SCHEMA
    assert table.to_pylist()[1] == {
        "uri": "b", "offset": -1, "length": 6, "row_group": -1, "row": -1, "label": -1, "split": 0, "content": 0
    }  # fmt: skip
    assert all(column.num_chunks == 1 for column in table.columns)


def test_a_stream_of_rows_is_one_table_in_order() -> None:
    parts = [Rows(uri=[name], row=np.array([i])).table() for i, name in enumerate("ab")]
    joined = RowStream(2, lambda: iter(parts)).table()
    assert joined["uri"].to_pylist() == ["a", "b"]
    assert joined["row"].to_pylist() == [0, 1]
    assert all(column.num_chunks == 1 for column in joined.columns)
    assert RowStream(0, lambda: iter([])).table() == SCHEMA.empty_table()
