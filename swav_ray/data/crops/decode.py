"""From the bytes of an image file to RGB pixels, or to `UnreadableImage` with the reason; nothing else gets out.

JPEG goes through libjpeg-turbo (simplejpeg), and can be decoded at a fraction of its size (the DCT's own scaling)
if the crops need no more; everything else goes through PIL. Files that are merely unusual are read right: palette,
greyscale, CMYK, 16-bit, alpha (dropped, as the published loader's `convert("RGB")` does), EXIF-rotated (turned
upright), animated (first frame).
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

MAX_PIXELS = 178_956_970  # above this PIL refuses an image as a decompression bomb; 537 MB as RGB

JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


class UnreadableImage(ValueError):
    """Bytes that give no image. `kind` is empty, not_an_image, truncated, corrupt, unsupported or too_large."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(" ".join(message.split()))
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        return UnreadableImage, (self.kind, str(self))


class SourceImage:
    """An image whose size is known and whose pixels are not decoded yet.

    height, width: upright size in pixels, at full resolution. Raises UnreadableImage.
    """

    def __init__(self, data: bytes | np.ndarray, max_pixels: int = MAX_PIXELS) -> None:
        self._data = data
        self._pil: Image.Image | None = None
        self._pixels: np.ndarray | None = None
        self._orientation = 1
        if isinstance(data, np.ndarray):
            self._pixels = _check_pixels(data)
            self.height, self.width = self._pixels.shape[:2]
            return
        if not data:
            raise UnreadableImage("empty", "the file is empty")
        self._jpeg = bytes(data[:3]) == JPEG_START and self._open_jpeg(data)
        if not self._jpeg:
            self._pil = _open_pil(data)
            self.width, self.height = self._pil.size
            self._orientation = _pil_orientation(self._pil)
        if self.height * self.width > max_pixels:
            raise UnreadableImage("too_large", f"{self.width} x {self.height} is more than {max_pixels} pixels")
        if self._orientation >= 5:
            self.height, self.width = self.width, self.height

    def _open_jpeg(self, data: bytes) -> bool:
        """Read a JPEG's header; False if libjpeg-turbo gives no RGB (CMYK, or a header it refuses)."""
        try:
            self.height, self.width, colorspace, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        except (ValueError, KeyError):
            return False
        self._orientation = _jpeg_orientation(data)
        return colorspace not in ("CMYK", "YCCK")

    def pixels(self, eighths: int = 8) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright, C-contiguous, at eighths / 8 of the full size, rounded up.

        Only JPEG can be decoded smaller; others come at full size whatever `eighths` says, so compare shapes.
        """
        if self._pixels is not None:
            return self._pixels
        image = self._jpeg_pixels(eighths) if self._jpeg else _pil_pixels(self._pil)
        return image if self._orientation == 1 else np.ascontiguousarray(_upright(image, self._orientation))

    def _jpeg_pixels(self, eighths: int) -> np.ndarray:
        height, width = (self.height, self.width) if self._orientation < 5 else (self.width, self.height)
        size = (0, 0) if eighths >= 8 else (-(-height * eighths // 8), -(-width * eighths // 8))
        try:
            return simplejpeg.decode_jpeg(self._data, "RGB", min_height=size[0], min_width=size[1])
        except (ValueError, KeyError) as error:
            return self._recover(str(error), size)
        except MemoryError as error:
            raise UnreadableImage("too_large", f"no memory for {width} x {height} pixels") from error

    def _recover(self, message: str, size: tuple[int, int]) -> np.ndarray:
        """Decode what libjpeg only warns about (stray bytes between markers); a short file stays unreadable."""
        if "premature end" in message.lower():
            raise UnreadableImage("truncated", f"JPEG: {message}")
        if "corrupt" in message.lower() and "extraneous" not in message.lower():
            raise UnreadableImage("corrupt", f"JPEG: {message}")
        try:
            return simplejpeg.decode_jpeg(self._data, "RGB", min_height=size[0], min_width=size[1], strict=False)
        except (ValueError, KeyError):
            return _pil_pixels(_open_pil(self._data))


def decode(data: bytes | np.ndarray, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode an image file, whole: (H, W, 3) uint8 RGB, upright.

    data: the file's bytes, or pixels that are already decoded ((H, W), (H, W, 1) or (H, W, 3) uint8, passed through).
    Raises UnreadableImage, and nothing else, for anything that is no readable image of at most `max_pixels`.
    """
    return SourceImage(data, max_pixels).pixels()


def _check_pixels(array: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, contiguous and writable (one type for the kernels), from already decoded pixels."""
    if array.dtype != np.uint8:
        raise UnreadableImage("unsupported", f"decoded pixels must be uint8, not {array.dtype}")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3):
        raise UnreadableImage("unsupported", f"decoded pixels must be (H, W), (H, W, 1) or (H, W, 3): {array.shape}")
    if array.size == 0:
        raise UnreadableImage("empty", f"decoded pixels of shape {array.shape}")
    if array.shape[2] == 1:
        return np.repeat(array, 3, axis=2)
    return np.require(array, requirements=["C", "W"])


def _open_pil(data: Any) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise UnreadableImage("too_large", str(error)) from error
    except Image.UnidentifiedImageError as error:
        if bytes(data[:3]) == JPEG_START and JPEG_END not in bytes(data):
            raise UnreadableImage("truncated", f"JPEG of {len(data)} bytes ends in its header") from error
        raise UnreadableImage("not_an_image", f"no known image format, starts with {bytes(data[:8])!r}") from error
    except Exception as error:  # a format's reader trips over broken headers in its own ways
        raise UnreadableImage(_kind(error), f"{type(error).__name__}: {error}") from error


def _kind(error: Exception) -> str:
    return "truncated" if isinstance(error, EOFError) or "truncated" in str(error).lower() else "corrupt"


def _pil_orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # a broken EXIF block does not make the pixels unreadable
        return 1
    return value if value in range(1, 9) else 1


def _pil_pixels(image: Any) -> np.ndarray:
    """(H, W, 3) uint8 of an opened PIL image, whatever its mode."""
    try:
        image.load()
        if image.mode.startswith(("I", "F")):
            return np.repeat(_eight_bit(np.asarray(image))[:, :, None], 3, axis=2)
        if image.mode in ("La", "RGBa"):
            image = image.convert(image.mode.upper())
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except MemoryError as error:
        raise UnreadableImage("too_large", f"no memory for {image.size[0]} x {image.size[1]} pixels") from error
    except Exception as error:  # every format's decoder fails in its own way
        raise UnreadableImage(_kind(error), f"{image.format}: {error or type(error).__name__}") from error


def _eight_bit(array: np.ndarray) -> np.ndarray:
    """Greyscale of more than 8 bits brought to 8: by its upper byte, not cut at 255 as PIL's convert does."""
    if array.dtype.kind == "f":
        finite = np.nan_to_num(array)
        return np.clip(finite * (255.0 if finite.max() <= 1.0 else 1.0), 0, 255).astype(np.uint8)
    array = np.maximum(array, 0)
    peak = int(array.max())
    shift = 8 if array.dtype.itemsize == 2 or 255 < peak <= 65535 else max(0, peak.bit_length() - 8)
    return (array >> shift).astype(np.uint8)


def _jpeg_orientation(data: bytes) -> int:
    """EXIF orientation (1 to 8) of a JPEG: walks the APPn segments, and the first directory of the EXIF block."""
    position = 2
    while position + 10 < len(data) and data[position] == 0xFF and 0xE0 <= data[position + 1] <= 0xEF:
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if data[position + 1] == 0xE1 and data[position + 4 : position + 10] == b"Exif\0\0":
            return _exif_orientation(bytes(data[position + 10 : position + 2 + length]))
        position += 2 + length
    return 1


def _exif_orientation(tiff: bytes) -> int:
    order = ">" if tiff[:2] == b"MM" else "<"
    try:
        (offset,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, offset)
        for entry in range(entries):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, offset + 2 + 12 * entry)
            if tag == 0x0112 and kind == 3 and 1 <= value <= 8:
                return int(value)
    except struct.error:  # a broken EXIF block does not make the pixels unreadable
        return 1
    return 1


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation, 2 to 8: a transpose if rows hold columns, then flips."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image
