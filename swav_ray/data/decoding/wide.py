"""Colours of 16 bits a band, of which PIL gives the upper bytes alone.

Of a PNG it gives the lower ones too, if it is told that they are the upper ones. OpenCV reads the others whole; of PNGs
that PIL reads all the same it would tell on stderr what is wrong with them.
"""

from __future__ import annotations

import io
import re
from typing import Any

import cv2
import numpy as np
from PIL import Image

_PNG_WITH_BANDS = (2, 4, 6)  # its colour types: RGB, LA, RGBA
_LUMINANCE_AND_ALPHA = 4
_PPM = re.compile(rb"P6\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s+65535\s")
_JPEG_2000_SIZE = b"\xff\x4f\xff\x51"  # start of codestream, then the marker of the image's size
_SAMPLE_DEPTH = 42  # bytes behind its start, where the first component's depth is


def is_wide(image: Any, data: bytes) -> bool:
    """Whether an opened PIL image has several bands of 16 bits (of 9 to 16 in JPEG 2000), by its header."""
    if image.mode not in ("RGB", "RGBA", "LA"):
        return False
    if image.format == "PNG":
        return data[24] == 16 and data[25] in _PNG_WITH_BANDS
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (8,))) == 16
    if image.format == "JPEG2000":
        at = data.find(_JPEG_2000_SIZE) + _SAMPLE_DEPTH
        return at >= _SAMPLE_DEPTH and 8 <= int.from_bytes(data[at : at + 1], "big") & 0x7F < 16
    return image.format == "PPM" and _PPM.match(data) is not None


def wide_samples(image: Any, data: bytes) -> np.ndarray | None:
    """(H, W, 3 or 4) uint16, RGB or RGBA, of a loaded PIL image, lying as its pixels do; None if they cannot be read.

    Args:
        data: the file, of which the image is.
    """
    if image.format == "PNG" and data[25] != _LUMINANCE_AND_ALPHA:
        lower = _lower_bytes(data)
        return None if lower is None else np.asarray(image).astype(np.uint16) << 8 | lower
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it tells stderr what it thinks of tags
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if found is None or found.dtype != np.uint16 or found.ndim != 3 or found.shape[2] not in (3, 4):
        return None
    order = [2, 1, 0, 3][: found.shape[2]]
    return np.ascontiguousarray(found[..., order])


def _lower_bytes(data: bytes) -> np.ndarray | None:
    """(H, W, 3 or 4) uint8: of a PNG's samples, whose bytes are big-endian, read as if they were little-endian."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.tile = [tile._replace(args=str(tile.args).replace(";16B", ";16L")) for tile in image.tile]
            return np.array(image)
    except (OSError, ValueError, SyntaxError):  # metadata that PIL refuses
        return None
