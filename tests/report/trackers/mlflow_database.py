"""What MLflow has stored, read without its library, whose threads a test that forks would inherit."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any


class Database:
    """MLflow's own, in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self._file) as connection:
            return connection.execute(query).fetchall()
