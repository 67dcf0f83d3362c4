"""From what a file holds, of any depth and with any transparency, to 8-bit RGB."""

from __future__ import annotations

from typing import Any

import numpy as np

from swav_ray.data.decoding.choices import ALPHAS, Decoding

_HIGHEST = {"u2": 65535.0, "i2": 32767.0, "i4": 2147483647.0, "f4": 1.0}


def is_deep(image: Any) -> bool:
    """Whether a PIL image has greyscale samples of more than 8 bits, which its own `convert` would cut at 255."""
    return bool(image.mode.startswith(("I", "F")))


def samples_of(image: Any) -> np.ndarray:
    """(H, W) of a deep image: uint16 wherever the format has no more than 16 bits, else int32 or float32."""
    array = np.asarray(image)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype == np.int32 and image.format in ("PNG", "PPM"):  # PIL brings these to 32 bits, or did once
        return array.astype(np.uint16)
    return array


def declared_range(image: Any, samples: np.ndarray, significant_bits: int = 0) -> tuple[float, float] | None:
    """The range that a file itself declares: sBIT of a PNG, MinSampleValue and MaxSampleValue of a TIFF.

    None if it declares none, or if its samples are beyond: by the PNG standard, those of few bits are scaled to 16.
    """
    tags = getattr(image, "tag_v2", {})
    if significant_bits:
        low, high = 0.0, float((1 << significant_bits) - 1)
    elif 281 in tags:
        low, high = (float(np.ravel(value)[0]) for value in (tags.get(280, 0), tags[281]))
    else:
        return None
    values = samples[..., :3] if samples.ndim == 3 else samples
    return (low, high) if high > low and values.max() <= high else None


def eight_bit(array: np.ndarray, value_range: tuple[float, float] | None) -> np.ndarray:
    """uint8 of deep samples, in their shape: `low` becomes 0 and `high` 255, rounded; what is no number becomes 0.

    Without a range the type's own counts; of 16 bits that is the upper byte.
    """
    if value_range is None and array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    low, high = value_range or (0.0, _HIGHEST[array.dtype.str[1:]])
    scaled: np.ndarray = (array.astype(np.float64) - low) * (255.0 / (high - low))
    return np.rint(np.clip(np.nan_to_num(scaled, nan=0.0), 0, 255)).astype(np.uint8)


def has_alpha(image: Any) -> bool:
    """Whether a PIL image says of its pixels how transparent they are."""
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def rgb(image: Any, decoding: Decoding, background: tuple[int, int, int] | None = None) -> np.ndarray:
    """(H, W, 3) uint8 of a loaded PIL image of at most 8 bits.

    Args:
        background: behind transparent pixels, if `decoding.alpha` is random; None: what ALPHAS has.
    """
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    behind = ALPHAS[decoding.alpha]
    if behind is not None and has_alpha(image):
        return over(np.asarray(image.convert("RGBA")), background or behind)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def wide_rgb(
    samples: np.ndarray,
    value_range: tuple[float, float],
    decoding: Decoding,
    background: tuple[int, int, int] | None = None,
) -> np.ndarray:
    """(H, W, 3) uint8 of (H, W, 3 or 4) uint16; transparency as `rgb` has it."""
    colors = eight_bit(samples[..., :3], value_range)
    behind = ALPHAS[decoding.alpha]
    if behind is None or samples.shape[2] == 3:
        return colors
    alpha = (samples[..., 3:] >> 8).astype(np.uint8)
    return over(np.concatenate([colors, alpha], axis=2), background or behind)


def over(rgba: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """(H, W, 3) uint8 of (H, W, 4): laid over a colour (Porter and Duff, 1984), rounded."""
    alpha = rgba[..., 3:].astype(np.uint16)
    behind = np.array(background, np.uint16)
    mixed = rgba[..., :3] * alpha + behind * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)
