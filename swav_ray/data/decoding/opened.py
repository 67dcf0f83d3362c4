"""Opens and loads images with PIL: nothing but `UnreadableImage` comes out, and nothing is written to stderr."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import PIL
from PIL import Image

from swav_ray.data.decoding import png
from swav_ray.data.decoding.unidentified import misread, why_unidentified
from swav_ray.data.decoding.unreadable import UnreadableImage

# PIL warns of broken metadata, and of large images, which have a limit here: bare lines on every worker's stderr.
warnings.filterwarnings("ignore", module=r"PIL\.")


def _silence_libtiff() -> None:
    """libtiff writes its errors to stderr before PIL raises them."""
    for library in (Path(PIL.__file__).parents[1] / "pillow.libs").glob("libtiff*"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)


with contextlib.suppress(ImportError):  # the extra heic
    import pillow_heif

    pillow_heif.register_heif_opener()
_silence_libtiff()
logging.getLogger("PIL").addHandler(logging.NullHandler())


def open_pil(data: Any) -> Image.Image:
    """An image whose pixels are not decoded yet. Raises UnreadableImage."""
    try:
        image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise UnreadableImage("too_large", str(error)) from error
    except Image.UnidentifiedImageError as error:
        raise UnreadableImage(*why_unidentified(data)) from error
    except Exception as error:  # a format's reader trips over broken headers in its own ways
        if (slim := slimmed(data, error)) is not None:
            return open_pil(slim)
        raise UnreadableImage(_kind(error), f"{type(error).__name__}: {error}") from error
    if wrong := misread(image):
        raise UnreadableImage("unsupported", wrong)
    return image


def slimmed(data: bytes, error: Exception) -> bytes | None:
    """A PNG without the metadata that PIL refuses, if that is what the error is about."""
    if "MAX_TEXT" not in str(error):
        return None
    slim = png.without_large_metadata(data)
    if len(slim) == len(data):
        slim = png.without_texts(data)
    return slim if len(slim) < len(data) else None


def load(image: Any) -> None:
    """Decodes the pixels of an opened image, at most once: PIL's second attempt returns what the first one left.

    Raises UnreadableImage.
    """
    try:
        image.load()
    except MemoryError as error:
        raise UnreadableImage("too_large", f"no memory for {image.size[0]} x {image.size[1]} pixels") from error
    except Exception as error:  # every format's decoder fails in its own way
        raise UnreadableImage(_kind(error), f"{image.format}: {error or type(error).__name__}") from error


def _kind(error: Exception) -> str:
    return "truncated" if isinstance(error, EOFError) or "truncated" in str(error).lower() else "corrupt"


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of an opened image, 1 to 8; 1 if it has none."""
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # a broken EXIF block does not make the pixels unreadable
        return 1
    return value if value in range(1, 9) else 1
