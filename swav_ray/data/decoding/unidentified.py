"""What bytes are that no image decoder knows or reads right: for the message, which should say more than that."""

from __future__ import annotations

import io
from typing import Any

from PIL import TiffImagePlugin

JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BIG_TIFF_STARTS = _TIFF_STARTS[2:]
_BITS, _BANDS, _PLANAR, _SAMPLE_FORMAT = 258, 277, 284, 339  # tags
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL ")
_LONGEST_TEXT = 4096


def why_unidentified(data: bytes) -> tuple[str, str]:
    """The kind of `UnreadableImage` and its message."""
    if data[:3] == JPEG_START and JPEG_END not in data:
        return "truncated", f"JPEG of {len(data)} bytes ends in its header"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "unsupported", "HEIC; `pip install 'swav_ray[heic]'` reads it"
    if data.startswith(_JPEG_XL):
        return "unsupported", "JPEG XL; convert it to PNG or JPEG"
    if data[128:132] == b"DICM":
        return "unsupported", "DICOM; export it to PNG or TIFF of 16 bits"
    if data[:4] in _TIFF_STARTS and (layout := _tiff_layout(data)):
        return "unsupported", f"TIFF of {layout}, which PIL cannot read"
    if data.startswith(b"version https://git-lfs"):
        return "not_an_image", "a Git LFS pointer; `git lfs pull` fetches the file"
    if (text := _text(data)) and ("/" in text or "\\" in text) and "\n" not in text:
        return "not_an_image", f"a text with a path, {text!r}: a link that was not kept as one"
    return "not_an_image", f"no known image format, starts with {bytes(data[:8])!r}"


def misread(image: Any) -> str:
    """What an opened PIL image is that PIL would read wrongly, or by running another program; empty for all others."""
    if image.format == "EPS":
        return "EPS, which is a program; convert it to PNG"
    if image.format != "TIFF":
        return ""
    tags = image.tag_v2
    try:
        bits = tags.get(_BITS, (1,))[0]
        if tags.get(_PLANAR, 1) == 2 and tags.get(_BANDS, 1) > 1 and bits > 8:
            return f"TIFF of {_bands(tags)} in planes of their own; write the bands of a pixel together"
        if bits == 8 and tags.get(_SAMPLE_FORMAT, (1,))[0] == 2:
            return f"TIFF of {_bands(tags)}; write 16-bit ones"
    except Exception:  # of a broken header the decoder tells what is wrong
        return ""
    return ""


def _text(data: bytes) -> str:
    """A short text without control characters and markup; empty for anything else."""
    if len(data) > _LONGEST_TEXT or data[:1] == b"<":
        return ""
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""


def _tiff_layout(data: bytes) -> str:
    """The bands and the type of their samples, for people; empty if the header does not say."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[:4] in _BIG_TIFF_STARTS else 8])
        stream = io.BytesIO(data)
        stream.seek(tags.next)
        tags.load(stream)
        return _bands(tags)
    except Exception:  # a broken header has no layout
        return ""


def _bands(tags: Any) -> str:
    kind = {1: "integers", 2: "signed integers", 3: "floats"}.get(tags.get(_SAMPLE_FORMAT, (1,))[0], "samples")
    return f"{tags.get(_BANDS, 1)} bands of {tags.get(_BITS, (1,))[0]}-bit {kind}"
