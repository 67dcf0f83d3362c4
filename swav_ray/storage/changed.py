"""Bytes of an object that was written after its place was listed: no longer those that the list is about.

By the server's own clock: Last-Modified of the answer, beside the newest one of the listing. An object that is written
twice within a second of the newest is not told apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ChangedBytes(bytes):
    """Of an object that was written after the listing. Used like others, but not cached under the list's version."""


def as_listed(data: bytes, written: float, newest: float) -> bytes:
    """The bytes as they are, or as `ChangedBytes`.

    Args:
        written: when the object was, in Unix seconds. newest: when the newest of the listing was; 0: not known.
    """
    return ChangedBytes(data) if 0 < newest < written else data


def written_of(answer: Mapping[str, Any]) -> float:
    """When an object was written, in Unix seconds, by boto3's answer; 0 if the server does not say it."""
    when = answer.get("LastModified")
    return when.timestamp() if when else 0.0
