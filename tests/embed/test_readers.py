"""Embeddings are read as they are by what people read Parquet with."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from tests.embed.small import embedded, table, vectors_of


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_duckdb_and_pandas_read_the_rows_that_were_written(tmp_path: Path, dtype: str) -> None:
    output, _ = embedded(tmp_path, dtype=dtype)
    expected, vectors = table(output), vectors_of(output)
    files = output.embeddings.folder.uri
    rows = duckdb.sql(f"SELECT uri, cluster, embedding FROM '{files}/*.parquet' ORDER BY sample_id").fetchall()
    assert [row[0] for row in rows] == expected["uri"].to_pylist()
    assert [row[1] for row in rows] == expected["cluster"].to_pylist()
    assert np.allclose([row[2] for row in rows], vectors)
    frame = pd.read_parquet(files)
    assert frame["distance"].tolist() == expected["distance"].to_pylist()
    assert np.allclose(np.stack(frame["embedding"].to_list()), vectors)
