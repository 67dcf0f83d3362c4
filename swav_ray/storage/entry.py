"""What a listing says of a file."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """One file below a place: name relative to it, size in bytes, and what changes when the content does.

    ``written``: when an object on S3 was, in Unix seconds by the server's clock; 0 if that is not known.
    """

    name: str
    size: int
    etag_or_mtime: str
    written: float = 0.0
