"""Makes large images smaller, once, where every epoch would otherwise decode them at their full size."""

from __future__ import annotations

import io
import math

import cv2
import numpy as np
from PIL import Image

from swav_ray.data.decoding.choices import Decoding
from swav_ray.data.decoding.decode import JPEG_START, SourceImage, UnreadableImage

JPEG_QUALITY = 95
_ANY_SIZE = Decoding(max_pixels=1 << 40)  # whoever asks for smaller images has large ones


def shrunk(data: bytes, max_side: int) -> bytes:
    """An encoded image whose longer side has at most `max_side` pixels; one that has no more comes back as it is.

    Pixels are averaged over areas, which does not alias. A JPEG stays one, of quality 95; everything else becomes PNG,
    deep greyscale of 16 bits with its values, transparency with its transparency. EXIF orientations are applied, other
    metadata is left out. An unreadable image comes back as it is, for `check` and training to tell of.
    """
    try:
        source = SourceImage(data, _ANY_SIZE)
        longer = max(source.height, source.width)
        if longer <= max_side:
            return data
        deep = source.deep_samples()
        if deep is not None and (deep[0].dtype != np.uint16 or deep[0].ndim == 3):
            return data  # no lossless format of these that PIL writes
        if deep is not None:
            return _encoded(_resized(source.upright(deep[0]), max_side), "PNG")
        if source.is_transparent():
            return _encoded(_resized(source.upright(source.rgba()), max_side), "PNG")
        pixels = source.pixels(max(1, math.ceil(8 * max_side / longer)))
        return _encoded(_resized(pixels, max_side), "JPEG" if data[:3] == JPEG_START else "PNG")
    except UnreadableImage:
        return data


def _resized(pixels: np.ndarray, max_side: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    scale = max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return _resized_with_alpha(pixels, size)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _resized_with_alpha(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Colours weighted by their opacity, or the hidden ones would show at the edges."""
    alpha = pixels[..., 3:].astype(np.float32)
    mixed = cv2.resize(np.concatenate([pixels[..., :3] * alpha, alpha], 2), size, interpolation=cv2.INTER_AREA)
    colors = mixed[..., :3] / np.maximum(mixed[..., 3:], 1e-6)
    return np.rint(np.concatenate([colors, mixed[..., 3:]], 2)).clip(0, 255).astype(np.uint8)


def _encoded(pixels: np.ndarray, kind: str) -> bytes:
    sink = io.BytesIO()
    # Colour at full resolution: what was fine detail is now a pixel or two.
    options = {"quality": JPEG_QUALITY, "subsampling": 0} if kind == "JPEG" else {}
    Image.fromarray(pixels).save(sink, kind, **options)
    return sink.getvalue()
