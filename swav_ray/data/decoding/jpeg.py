"""What the markers of a JPEG say without decoding it: which way up it is, and whether all of the picture is there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from PIL import Image

_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')  # where PIL looks if EXIF has none
_ORIENTATION = 0x0112
_START_OF_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the markers that begin a frame
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_COEFFICIENTS = 64


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment in order, also between and after scans, as long as there are whole ones."""
    position = 2
    while True:
        position = data.find(b"\xff", position)
        while 0 <= position < len(data) - 1 and data[position + 1] == 0xFF:  # fill bytes
            position += 1
        if not 0 <= position < len(data) - 4:
            return
        marker = data[position + 1]
        if marker in _ALONE or marker == 0:  # 0: a byte of a scan that happens to be 255
            position += 2
            continue
        if marker == _END:
            return
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if end > len(data):
            return
        yield marker, data[position + 4 : end]
        position = end


def orientation(data: bytes) -> int:
    """EXIF orientation, 1 to 8, as PIL's `exif_transpose` reads it: from EXIF, else from XMP, else 1."""
    if not _may_have_app1(data):
        return 1
    exif, xmp = b"", b""
    for marker, content in segments(data):
        if marker == _START_OF_SCAN:
            break
        if marker == _APP1 and content.startswith(_EXIF):
            exif += content[len(_EXIF) :]
        elif marker == _APP1 and content.startswith(_XMP):
            xmp = content
    if not exif and not xmp:
        return 1
    value = None
    if exif:
        tags = Image.Exif()
        try:
            tags.load(_EXIF + exif)
            value = tags.get(_ORIENTATION)
        except Exception:  # a broken EXIF block does not make the pixels unreadable
            return 1
    if value is None and (found := _XMP_ORIENTATION.search(xmp)):
        value = int(found[1])
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _may_have_app1(data: bytes) -> bool:
    """False if segments follow one another up to the first scan and none is an APP1: a quick answer for most JPEGs."""
    position = 2
    while data[position : position + 1] == b"\xff" and position + 3 < len(data):
        marker = data[position + 1]
        if marker == _START_OF_SCAN:
            return False
        if marker == _APP1 or not 0xC0 <= marker < 0xFF or marker in _ALONE:
            return True
        position += 2 + (data[position + 2] << 8) + data[position + 3]
    return True


def has_all_scans(data: bytes) -> bool:
    """Whether the scans that have begun bring every coefficient of every component to its last bit (ITU-T T.81, G.1).

    A progressive JPEG that ends between two scans decodes without a complaint, to a blurred picture.
    """
    missing: dict[int, list[bool]] = {}
    for marker, content in segments(data):
        try:
            if marker in _FRAMES:
                components = range(content[5])
                missing = {content[6 + 3 * component]: [True] * _COEFFICIENTS for component in components}
            elif marker == _START_OF_SCAN:
                count = content[0]
                first, last, bits = content[1 + 2 * count], content[2 + 2 * count], content[3 + 2 * count] & 15
                for component in range(count):
                    if bits == 0:
                        missing[content[1 + 2 * component]][first : last + 1] = [False] * (last + 1 - first)
        except (IndexError, KeyError):
            return False
    return bool(missing) and not any(any(left) for left in missing.values())


def is_progressive(data: bytes) -> bool:
    """Whether its picture comes in passes, each over the whole of it."""
    return next((marker for marker, _ in segments(data) if marker in _FRAMES), 0) in (0xC2, 0xC6, 0xCA, 0xCE)
