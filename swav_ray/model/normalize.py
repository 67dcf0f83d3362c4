"""Crops as they travel (0..255) to the network's input, on whatever device they are."""

from __future__ import annotations

import functools

import torch

# In units of 255. The published SwAV code's own values; its red deviation is .228, torchvision's is .229.
MEAN = (0.485, 0.456, 0.406)
STD = (0.228, 0.224, 0.225)


def normalize(
    crops: torch.Tensor, *, mean: tuple[float, float, float] = MEAN, std: tuple[float, float, float] = STD
) -> torch.Tensor:
    """Normalised images.

    Args:
        crops: (N, H, W, 3) uint8, or (N, 3, H, W) floating point, both in 0..255.
        mean: of each channel, in units of 255.
        std: standard deviation of each channel, in units of 255.

    Returns:
        (N, 3, H, W) float32 on the same device; of uint8 input in channels-last memory, which costs no transpose.

    Raises:
        ValueError: the shape fits neither form.
    """
    if crops.dtype == torch.uint8 and crops.ndim == 4 and crops.shape[3] == 3:
        images = crops.permute(0, 3, 1, 2).to(torch.float32)
    elif crops.is_floating_point() and crops.ndim == 4 and crops.shape[1] == 3:
        images = crops.to(torch.float32, copy=True)
    else:
        raise ValueError(
            f"normalize: shape {tuple(crops.shape)} of {crops.dtype}: needs (N, H, W, 3) uint8 or (N, 3, H, W) float"
        )
    # To send a tensor from the host to a GPU holds the host up, so there it is sent once.
    levels = _kept_levels if images.is_cuda else _levels
    return images.sub_(levels(mean, images.device)).div_(levels(std, images.device))


def _levels(values: tuple[float, float, float], device: torch.device) -> torch.Tensor:
    """(1, 3, 1, 1), in levels of 0..255."""
    with torch.inference_mode(False):  # or no later caller could take a gradient by them
        return torch.tensor(values, device=device).view(1, 3, 1, 1) * 255


_kept_levels = functools.cache(_levels)
