"""Frozen features of whole images: crop, normalise, embed, once, for every protocol that needs them.

Knows nothing of checkpoints, protocols or Ray.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from swav_ray.model.normalize import normalize

SMALL = 64  # up to this side an image is embedded whole, not cut by the 256/224 margin
_LONGEST = 8  # times its short side, of an image that is resized


def center_crop(image: np.ndarray, size: int) -> np.ndarray:
    """The middle of an image at the size that is embedded.

    The short side is resized to ``round(size * 256 / 224)``, as on ImageNet; up to a ``size`` of 64 to ``size`` itself,
    as small-image benchmarks do, whose images have no margin to lose. Shrinking averages over pixel areas. Of an image
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
    short = size if size <= SMALL else round(size * 256 / 224)
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


def extract(
    backbone: nn.Module, images: torch.Tensor, *, batch: int = 256, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Features of a frozen backbone.

    The backbone runs in eval mode, and every module's own mode is put back afterwards, whatever happens.

    Args:
        backbone: maps normalised images (B, 3, H, W) to (B, D), on ``device``.
        images: (N, H, W, 3) uint8, anywhere.
        batch: images at a time.

    Returns:
        (N, D) float32 on the CPU, usable in autograd.

    Raises:
        ValueError: no images, or the backbone's output is not (B, D).
    """
    if len(images) == 0:
        raise ValueError("extract: no images")
    modes = [(module, module.training) for module in backbone.modules()]
    features = None
    backbone.eval()
    try:
        for start in range(0, len(images), batch):
            with torch.inference_mode():
                output = backbone(normalize(images[start : start + batch].to(device)))
            if output.ndim != 2:
                raise ValueError(f"extract: the backbone gave {tuple(output.shape)}, needs (images, features)")
            if features is None:  # made outside inference mode, so that a linear probe can train on it
                features = torch.empty(len(images), output.shape[1])
            features[start : start + batch] = output.to("cpu", torch.float32)
    finally:
        for module, training in modes:
            module.training = training
    assert features is not None
    return features


def pixels(images: torch.Tensor, *, side: int = 16) -> torch.Tensor:
    """The baseline that has learnt nothing: normalised pixels, averaged down to ``side`` x ``side``.

    Args:
        images: (N, H, W, 3) uint8.

    Returns:
        (N, 3 * side * side) float32.
    """
    parts = [F.adaptive_avg_pool2d(normalize(part), side).flatten(1) for part in images.split(1024)]
    return torch.cat(parts)
