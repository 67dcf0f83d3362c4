"""From the bytes of an image file to RGB pixels, or to `UnreadableImage` with the reason; nothing else gets out.

JPEG goes through libjpeg-turbo (simplejpeg), and can be decoded at a fraction of its size (the DCT's own scaling)
if the crops need no more; everything else goes through PIL. Files that are merely unusual are read right: palette,
greyscale, CMYK, 16-bit, alpha (see `Decoding`), EXIF-rotated (turned upright), animated (first frame).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from swav_ray.data.decoding import jpeg, png
from swav_ray.data.decoding.choices import Decoding
from swav_ray.data.decoding.levels import declared_range, eight_bit, has_alpha, is_deep, rgb, samples_of, wide_rgb
from swav_ray.data.decoding.opened import load, open_pil, orientation_of, slimmed
from swav_ray.data.decoding.unidentified import JPEG_END, JPEG_START
from swav_ray.data.decoding.unreadable import UnreadableImage
from swav_ray.data.decoding.wide import is_wide, wide_samples

NO_END_MARKER = "no_end_marker"  # a flaw: the whole picture is there, the JPEG's last two bytes are not

_HALF = 4  # times max_pixels that a JPEG may have: decoded at half its size it has no more
_DEFAULTS = Decoding()


class SourceImage:
    """An image whose size is known and whose pixels are not decoded yet.

    Args:
        data: the file's bytes, or pixels that are already decoded ((H, W), (H, W, 1) or (H, W, 3) uint8).
        decoding: what its data set asks for.

    Attributes:
        height, width: upright size in pixels, at full resolution.
        flaw: what was wrong with an image that was read whole all the same: NO_END_MARKER, or empty. Known after
            `pixels`.

    Raises:
        UnreadableImage: it is no readable image, or has too many pixels.
    """

    def __init__(self, data: bytes | np.ndarray, decoding: Decoding = _DEFAULTS) -> None:
        self._data: Any = data
        self._decoding = decoding
        self._pil: Any = None
        self._pixels: np.ndarray | None = None
        self._orientation = 1
        self._eighths = 8  # at most
        self.flaw = ""
        if isinstance(data, np.ndarray):
            self._pixels = _check_pixels(data)
            self.height, self.width = self._pixels.shape[:2]
            return
        if not data:
            raise UnreadableImage("empty", "the file is empty")
        self._jpeg = data[:3] == JPEG_START and self._open_jpeg(data)
        if not self._jpeg:
            self._pil = self._opened(data)
            self.width, self.height = self._pil.size
            self._orientation = orientation_of(self._pil)
        if self._orientation >= 5:
            self.height, self.width = self.width, self.height

    def _open_jpeg(self, data: bytes) -> bool:
        """Reads a JPEG's header; False if libjpeg-turbo gives no RGB (CMYK, or a header it refuses)."""
        try:
            self.height, self.width, colorspace, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        except (ValueError, KeyError):
            return False
        if colorspace in ("CMYK", "YCCK"):
            return False
        limit, pixels = self._decoding.max_pixels, self.width * self.height
        if pixels > limit:
            # A progressive JPEG is held in memory at its full size, whatever it is decoded to.
            _check_size(self.width, self.height, limit if jpeg.is_progressive(data) else _HALF * limit)
            self._eighths = min(8, math.isqrt(64 * limit // pixels))
        self._orientation = jpeg.orientation(data)
        return True

    def _opened(self, data: bytes) -> Image.Image:
        image = open_pil(data)
        _check_size(*image.size, self._decoding.max_pixels)
        if image.format == "TIFF":
            load(image)  # PIL turns it upright, and from then on says that it is
        if image.format == "JPEG" and not data.endswith(JPEG_END):
            return self._with_end(image, data)
        if image.format != "PNG":
            return image
        try:
            load(image)  # its orientation may come behind its pixels, and asking for it would hide what is wrong there
        except UnreadableImage as error:
            if (slim := slimmed(data, error)) is None:
                raise
            return self._opened(slim)
        return image

    def _with_end(self, image: Image.Image, data: bytes) -> Image.Image:
        """A JPEG that PIL decodes, of CMYK, with its end marker if it lacks nothing else."""
        if self._decoding.strict or not jpeg.has_all_scans(data):
            return image
        try:
            simplejpeg.decode_jpeg(data + JPEG_END, "CMYK")  # complains where PIL would fill in grey
        except (ValueError, KeyError, MemoryError):
            return image
        self.flaw = NO_END_MARKER
        return open_pil(data + JPEG_END)

    def pixels(self, eighths: int = 8, background: tuple[int, int, int] | None = None) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright, C-contiguous, at eighths / 8 of the full size, rounded up.

        Only JPEG can be decoded smaller; others come at full size whatever `eighths` says, so compare shapes. A JPEG
        of more than `max_pixels` comes at the largest size that has no more.

        Args:
            background: behind transparent pixels, if the data set asks for a random one.
        """
        if self._pixels is not None:
            return self._pixels
        if self._jpeg:
            image = self._jpeg_pixels(min(eighths, self._eighths))
        else:
            image = self._pil_pixels(self._pil, background)
        return self.upright(image)

    def deep_samples(self) -> tuple[np.ndarray, tuple[float, float] | None] | None:
        """Samples of more than 8 bits, as `upright` takes them, and the range that the file declares, if it does.

        (H, W), or (H, W, 3 or 4) of RGB or RGBA. None for an image of at most 8 bits. Raises UnreadableImage.
        """
        if self._pil is None or not (is_deep(self._pil) or is_wide(self._pil, self._data)):
            return None
        load(self._pil)
        samples = samples_of(self._pil) if is_deep(self._pil) else self._wide_samples()
        return samples, declared_range(self._pil, samples, png_bits(self._pil, self._data))

    def _wide_samples(self) -> np.ndarray:
        samples = wide_samples(self._pil, self._data)
        if samples is None or samples.shape[1::-1] != self._pil.size:
            raise UnreadableImage("unsupported", f"{self._pil.format} of several 16-bit bands, laid out unusually")
        return samples

    def is_transparent(self) -> bool:
        """Whether pixels are transparent, if only in part. Raises UnreadableImage."""
        if self._pil is None or not has_alpha(self._pil):
            return False
        load(self._pil)
        return bool(np.asarray(self._pil.convert("RGBA"))[..., 3].min() < 255)

    def rgba(self) -> np.ndarray:
        """(H, W, 4) uint8 of an image with transparency, not turned upright. Raises UnreadableImage."""
        load(self._pil)
        return np.array(self._pil.convert("RGBA"))

    def upright(self, array: np.ndarray) -> np.ndarray:
        """Samples of this image, as `deep_samples` and `rgba` have them, turned upright."""
        return array if self._orientation == 1 else np.ascontiguousarray(_upright(array, self._orientation))

    def _jpeg_pixels(self, eighths: int) -> np.ndarray:
        height, width = (self.height, self.width) if self._orientation < 5 else (self.width, self.height)
        size = (0, 0) if eighths >= 8 else (-(-height * eighths // 8), -(-width * eighths // 8))
        try:
            return simplejpeg.decode_jpeg(self._data, "RGB", min_height=size[0], min_width=size[1])
        except (ValueError, KeyError) as error:
            return self._recover(str(error).lower(), size)
        except MemoryError as error:
            raise UnreadableImage("too_large", f"no memory for {width} x {height} pixels") from error

    def _recover(self, message: str, size: tuple[int, int]) -> np.ndarray:
        """Decodes what libjpeg only warns about: a missing end, stray bytes between markers."""
        data: Any = self._data
        least = {"min_height": size[0], "min_width": size[1]}
        if "premature end of jpeg file" in message and not self._decoding.strict and jpeg.has_all_scans(data):
            data = data + JPEG_END
            self.flaw = NO_END_MARKER
            try:
                # With its end there is nothing left to complain about, unless part of the picture is missing too.
                return simplejpeg.decode_jpeg(data, "RGB", **least)
            except (ValueError, KeyError) as error:
                message = str(error).lower()
        if "premature end" in message:
            raise UnreadableImage("truncated", f"JPEG: {message}")
        if "corrupt" in message and "extraneous" not in message:
            raise UnreadableImage("corrupt", f"JPEG: {message}")
        # Perhaps an error, after which what it returns is anything; or a scan is behind a marker that is damaged.
        if "extraneous" not in message or not jpeg.has_all_scans(data):
            return self._pil_pixels(open_pil(self._data), None)
        try:
            return simplejpeg.decode_jpeg(data, "RGB", **least, strict=False)
        except (ValueError, KeyError):
            return self._pil_pixels(open_pil(self._data), None)

    def _pil_pixels(self, image: Any, background: tuple[int, int, int] | None) -> np.ndarray:
        """(H, W, 3) uint8 of an opened PIL image, whatever its mode."""
        load(image)
        try:
            if not is_deep(image):
                value_range = self._decoding.value_range
                if value_range is None or not is_wide(image, self._data):
                    return rgb(image, self._decoding, background)
                return wide_rgb(self._wide_samples(), value_range, self._decoding, background)
            samples = samples_of(image)
            declared = declared_range(image, samples, png_bits(image, self._data))
            value_range = self._decoding.value_range or declared
            return np.repeat(eight_bit(samples, value_range)[:, :, None], 3, axis=2)
        except MemoryError as error:
            raise UnreadableImage("too_large", f"no memory for {image.size[0]} x {image.size[1]} pixels") from error


def decode(data: bytes | np.ndarray, decoding: Decoding = _DEFAULTS) -> np.ndarray:
    """Decodes an image file, whole: (H, W, 3) uint8 RGB, upright.

    Args:
        data: the file's bytes, or pixels that are already decoded ((H, W), (H, W, 1) or (H, W, 3) uint8, passed
            through).
        decoding: what its data set asks for.

    Raises:
        UnreadableImage: and nothing else, for anything that is no readable image of at most `decoding.max_pixels`.
    """
    return SourceImage(data, decoding).pixels()


def decode_pil(image: Image.Image, decoding: Decoding = _DEFAULTS) -> np.ndarray:
    """The same of an image that PIL has opened: (H, W, 3) uint8 RGB, upright. Raises UnreadableImage.

    Of colours of 16 bits a band PIL has the upper bytes alone, so here a `value_range` does not apply to them.
    """
    load(image)
    if is_deep(image):
        samples = samples_of(image)
        value_range = decoding.value_range or declared_range(image, samples)
        pixels = np.repeat(eight_bit(samples, value_range)[:, :, None], 3, axis=2)
    else:
        pixels = rgb(image, decoding)
    orientation = orientation_of(image)
    return pixels if orientation == 1 else np.ascontiguousarray(_upright(pixels, orientation))


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise UnreadableImage(
            "too_large", f"{width} x {height} is more than {max_pixels:,} pixels; see data.max_pixels"
        )


def png_bits(image: Any, data: Any) -> int:
    """Most bits of a sample that mean something, as a PNG may say; 0 if it does not."""
    return png.significant_bits(data) if image.format == "PNG" else 0


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


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation, 2 to 8: a transpose if rows hold columns, then flips."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image
