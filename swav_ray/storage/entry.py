"""What a listing says of a file."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """One file below a place: name relative to it, size in bytes, and what changes when the content does."""

    name: str
    size: int
    etag_or_mtime: str
