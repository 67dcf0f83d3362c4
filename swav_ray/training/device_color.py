"""Colour jitter, greyscale and blur of whole batches on the training device (`augment.color_device` = "train").

The same operations on the same random numbers as on the CPU (data/color.py, data/blur.py), so PIL's 8-bit arithmetic
step by step: values stay whole numbers between operations. Nothing loops over images, and no shape depends on the
parameters, so a GPU runs it without waiting for the host.

Shapes: N crops, S side in pixels, P = color_vector.COLOR_PARAMS.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from swav_ray.data.crops.color_vector import CONTRAST, FACTOR, GREY, HUE, HUE_SHIFT, NO_OP, ORDER, SATURATION, SIGMA


def color_and_blur(crops_u8: Tensor, params: Tensor, max_sigma: float = 2.0) -> Tensor:
    """Colour and blur a batch of crops, each by its own parameters.

    crops_u8: (N, S, S, 3) uint8. params: (N, P) float32 on the same device, as MultiCrop writes them.
    max_sigma: upper end of `augment.blur_sigma`, in pixels; a larger sigma in params is blurred as this one.
    Returns (N, 3, S, S) float32 in 0 ... 255, before normalisation.
    """
    image = crops_u8.permute(0, 3, 1, 2).float()
    order = params[:, ORDER : ORDER + 4]
    turned = (order == HUE).cumsum(1) > 0
    before = torch.where(turned, NO_OP, order)
    after = torch.where(turned & (order != HUE), order, NO_OP)
    for step in range(3):
        image = _blend(image, before[:, step], params)
    image = _turn_hue(image, turned[:, 3], params[:, HUE_SHIFT])
    for step in range(1, 4):
        image = _blend(image, after[:, step], params)
    grey = params[:, GREY].view(-1, 1, 1, 1) > 0
    return _blur(torch.where(grey, _grey(image), image), params[:, SIGMA], max_sigma)


def _grey(image: Tensor) -> Tensor:
    """(N, 1, S, S) luma of (N, 3, S, S), by PIL's 16-bit weights; exact in float32."""
    red, green, blue = image.unbind(1)
    luma = torch.floor((red * 19595 + green * 38470 + blue * 7471 + 32768) / 65536)
    return luma.unsqueeze(1)


def _blend(image: Tensor, operation: Tensor, params: Tensor) -> Tensor:
    """Brightness, contrast or saturation of each crop: away from black, from its mean grey or from its own grey."""
    grey = _grey(image)
    mean = torch.floor(grey.mean((2, 3), keepdim=True) + 0.5)
    operation = operation.view(-1, 1, 1, 1)
    base = grey * (operation == SATURATION) + mean * (operation == CONTRAST)
    chosen = operation.view(-1, 1).clamp(min=0).long()
    factor = params[:, FACTOR : FACTOR + 3].gather(1, chosen.clamp(max=2)).view(-1, 1, 1, 1)
    factor = torch.where(operation < 0, 1.0, factor)
    return (base + factor * (image - base)).clamp(0, 255).floor()


def _turn_hue(image: Tensor, apply: Tensor, shift: Tensor) -> Tensor:
    """Shift the hue in PIL's 8-bit HSV; `shift` in 1/256 of a circle."""
    red, green, blue = image.unbind(1)
    value, low = image.amax(1), image.amin(1)
    chroma = value - low
    safe = chroma.clamp(min=1)
    sixths = torch.where(
        red == value,
        (green - blue) / safe,
        torch.where(green == value, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixths = torch.where(sixths < 0, sixths + 6, sixths)
    hue = torch.floor(sixths * 42.5) + shift.view(-1, 1, 1)
    hue = torch.where(hue >= 256, hue - 256, hue) * (6 / 255)
    saturation = torch.floor(chroma * 255 / value.clamp(min=1))
    depth = value * saturation / 255
    channels = []
    for offset in (5, 3, 1):
        place = (hue + offset) % 6
        channels.append(torch.floor(value - depth * torch.minimum(place, 4 - place).clamp(0, 1) + 0.5))
    return torch.where(apply.view(-1, 1, 1, 1), torch.stack(channels, 1), image)


def _blur(image: Tensor, sigma: Tensor, max_sigma: float) -> Tensor:
    """PIL's Gaussian blur, three box blurs as one kernel, rows then columns; edges repeat the border pixel."""
    half = _half_width(max_sigma)
    taps = gaussian_taps(sigma.clamp(max=max_sigma), half)
    count, channels, side = image.shape[:3]
    kernel = taps.repeat_interleave(channels, 0)
    image = image.reshape(1, count * channels, side, side)
    image = F.pad(image, (half, half, half, half), mode="replicate")
    image = F.conv2d(image, kernel[:, None, None, :], groups=count * channels)
    image = F.conv2d(image, kernel[:, None, :, None], groups=count * channels)
    return image.view(count, channels, side, side).clamp(0, 255)


def _half_width(sigma: float) -> int:
    """Pixels that the blur reaches to each side at this sigma."""
    return 3 * (int(((4 * sigma * sigma + 1) ** 0.5 - 1) / 2) + 1)


def gaussian_taps(sigma: Tensor, half: int) -> Tensor:
    """(N, 2 half + 1) weights of three box blurs whose variances add up to sigma squared (Gwosdek et al., 2011)."""
    variance = sigma.double() ** 2 / 3
    whole = torch.floor((torch.sqrt(12 * variance + 1) - 1) / 2)
    edge = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    reach = half // 3
    distance = torch.arange(-reach, reach + 1, device=sigma.device).abs()
    whole, edge = whole[:, None], edge[:, None]
    box = torch.where(distance <= whole, 1.0, torch.where(distance == whole + 1, edge, 0.0))
    box = (box / box.sum(1, keepdim=True)).float()
    taps = box[None]
    for _ in range(2):
        taps = F.conv1d(taps, box[:, None], padding=2 * reach, groups=len(box))
    excess = (taps.shape[-1] - (2 * half + 1)) // 2
    return taps[0, :, excess : taps.shape[-1] - excess]
