"""What is known of an image that cannot be read. Imports nothing, so that every room can name one."""

from __future__ import annotations

from dataclasses import dataclass


class TooManyBadImages(RuntimeError):
    """More images are unreadable than the run tolerates; the message names some."""


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be read.

    Attributes:
        sample_id: its row in the manifest of the whole data set.
        uri: its file and, inside a file, its offset or row; for people.
        kind: empty, truncated, missing, ...: one word for each cause (decoding/decode.py and tools/check.py).
        reason: one line.
        replaced_by: the sample that was trained on instead; None if nothing was.
    """

    sample_id: int
    uri: str
    kind: str
    reason: str
    replaced_by: int | None = None
