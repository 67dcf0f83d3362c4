"""The middle of an image, as evaluation and whoever uses a backbone see it. Training sees random crops instead."""

from __future__ import annotations

import cv2
import numpy as np

from swav_ray.data.crops.short_side import short_side

_LONGEST = 8  # times its short side, of an image that is resized


def center_crop(image: np.ndarray, size: int) -> np.ndarray:
    """The middle of an image at the size that is embedded.

    The short side is resized to `short_side`. Shrinking averages over pixel areas. Of an image
    more than eight times as long as it is wide only the middle is resized, which moves the crop by less than a pixel.

    Args:
        image: (H, W, 3) uint8.
        size: side of the result in pixels.

    Returns:
        (size, size, 3) uint8, never a view of ``image``.

    Raises:
        ValueError: the image has another shape or type, or ``size`` is below 1.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape) < 1 or size < 1:
        raise ValueError(f"center_crop: image {image.shape} of {image.dtype}, size {size}: needs (H, W, 3) uint8")
    short = short_side(size)
    image = _without_ends(image)
    height, width = image.shape[:2]
    scale = short / min(height, width)
    new_width, new_height = max(short, round(width * scale)), max(short, round(height * scale))
    if (new_height, new_width) != (height, width):
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image, (new_width, new_height), interpolation=interpolation)
    top, left = (new_height - size) // 2, (new_width - size) // 2
    return image[top : top + size, left : left + size].copy()


def _without_ends(image: np.ndarray) -> np.ndarray:
    """A view of the middle: scaled whole, a line of 20,000 pixels would be gigabytes, of which the crop is a part."""
    height, width = image.shape[:2]
    longest = _LONGEST * min(height, width)
    # As much from both ends, so that the middle stays where it was.
    y, x = max(0, (height - longest) // 2), max(0, (width - longest) // 2)
    return image[y : height - y, x : width - x]
