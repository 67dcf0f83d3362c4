"""Frozen features of whole images: crop, normalise, embed, once, for every protocol that needs them.

Knows nothing of checkpoints, protocols or Ray.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from swav_ray.model.normalize import normalize


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
