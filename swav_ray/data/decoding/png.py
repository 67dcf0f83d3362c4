"""PNG chunks that say nothing of the pixels, and may keep PIL from reading them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

START = b"\x89PNG\r\n\x1a\n"

_COMPRESSED = (b"zTXt", b"iTXt", b"iCCP")
_TEXTS = (b"zTXt", b"iTXt", b"tEXt")
_LARGEST = 64 << 10  # bytes of a text or colour profile that PIL is still given: it may hold the orientation


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end (behind its checksum) of each chunk, as long as there are whole ones."""
    position = len(START)
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if end > len(data):
            return
        yield data[position + 4 : position + 8], position, end
        position = end


def without_large_metadata(data: bytes) -> bytes:
    """The file without its text and colour profile chunks of more than 64 KiB, which PIL refuses from 1 MiB on.

    A chunk whose checksum is wrong stays, so that the damage is found.
    """
    kept, last = [data[: len(START)]], len(START)
    for kind, start, end in chunks(data):
        if (
            kind in (*_COMPRESSED, b"tEXt")
            and _is_sound(data, start, end)
            and _is_large(kind, data[start + 8 : end - 4])
        ):
            kept.append(data[last:start])
            last = end
    return b"".join([*kept, data[last:]]) if last > len(START) else data


def without_texts(data: bytes) -> bytes:
    """The file without its sound text chunks: PIL refuses more than 64 MiB of them, however small each is."""
    kept = [data[: len(START)]]
    last = len(START)
    for kind, start, end in chunks(data):
        if kind in _TEXTS and _is_sound(data, start, end):
            kept.append(data[last:start])
            last = end
    return b"".join([*kept, data[last:]])


def significant_bits(data: bytes) -> int:
    """Most bits of a sample that mean something, from the sBIT chunk; 0 if there is none."""
    for kind, start, end in chunks(data):
        if kind == b"sBIT":
            return max(data[start + 8 : end - 4], default=0)
        if kind == b"IDAT":
            break
    return 0


def _is_sound(data: bytes, start: int, end: int) -> bool:
    return zlib.crc32(data[start + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")


def _is_large(kind: bytes, content: bytes) -> bool:
    if len(content) > _LARGEST:
        return True
    if kind == b"tEXt":
        return False
    position = content.find(b"\0") + 1  # behind the keyword
    if kind == b"iTXt":
        if content[position : position + 1] != b"\1":  # not compressed
            return False
        language = content.find(b"\0", position + 2) + 1
        position = content.find(b"\0", language) + 1  # behind the translated keyword
    else:
        position += 1  # the method, of which there is one
    try:
        unpacked = zlib.decompressobj()
        unpacked.decompress(content[position:], _LARGEST)
    except zlib.error:
        return False
    return bool(unpacked.unconsumed_tail)
