"""What tells byte-identical images: links, copies, the same photo under two names.

A content is 64 bits of a hash of an image's bytes, or of what the storage says of them; 0: not known. Equal contents
are equal bytes, as far as 64 bits can tell: two different ones of ten million are taken for equal once in 400,000 sets.
"""

from __future__ import annotations

import hashlib

import numpy as np

DIGEST = 16  # bytes


def content_digest(sample: bytes | np.ndarray) -> np.ndarray:
    """(DIGEST,) uint8 of an image's bytes, or of its pixels if it is decoded already."""
    content = sample.tobytes() if isinstance(sample, np.ndarray) else sample
    return np.frombuffer(hashlib.blake2b(content, digest_size=DIGEST).digest(), np.uint8)


def contents_of(digests: np.ndarray) -> np.ndarray:
    """(N,) uint64 of digests (N, DIGEST): their first 64 bits."""
    return np.ascontiguousarray(digests[:, :8]).view("<u8").reshape(-1)


def content_of(sample: bytes | np.ndarray) -> int:
    """The content of one image."""
    return int(contents_of(content_digest(sample)[None])[0])


def content_of_etag(size: int, etag: str) -> int:
    """The content of an object of this size and ETag, which is a hash of its bytes or, encrypted, no other object's."""
    return content_of(f"{size}\0{etag}".encode()) if size else 0


def first_of_equals(contents: np.ndarray) -> np.ndarray:
    """(N,) int64: for each position the first one with the same content, itself if its own is not known."""
    first = np.arange(len(contents))
    known = np.flatnonzero(contents)
    _, index, inverse = np.unique(contents[known], return_index=True, return_inverse=True)
    first[known] = known[index[inverse]]
    return first
