"""A folded trunk whose weights lie as oneDNN wants them: reordered once, not in every pass.

On CPUs only, in float32. torch has no public name for it; these are the operators that torch.compile's own code calls.
Where they are missing or have changed, the trunk stays as it is.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from swav_ray.features.embedding import FLOAT32, batch_of
from swav_ray.weights.backbone import Backbone

_CLOSE = 1e-4  # of the largest feature; roundings differ by 1e-6


def on_device(backbone: Backbone, device: torch.device, precision: str = FLOAT32) -> Backbone:
    """A folded backbone as this process should run it there: packed on a CPU in float32."""
    if device.type != "cpu" or precision != FLOAT32:
        return backbone.to(device)
    return packed(backbone, batch_of(backbone.preprocess.image_size, device))


class PackedConv2d(nn.Module):
    """The convolution `conv`, for inputs of about this shape (N, C, H, W) in channels-last memory."""

    def __init__(self, conv: nn.Conv2d, shape: torch.Size) -> None:
        super().__init__()
        self._how = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self._bias = conv.bias
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(conv.weight.detach(), *self._how, list(shape))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(x, self._weight, self._bias, *self._how, "none", [], "")
        return out


@torch.inference_mode()
def packed(backbone: Backbone, batch: int) -> Backbone:
    """A copy for this process that shares all other tensors, or the backbone itself if torch cannot do it.

    Args:
        backbone: as `folded` makes it, on the CPU. batch: images of a pass.
    """
    size = backbone.preprocess.image_size
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    image = image.contiguous(memory_format=torch.channels_last)
    shapes: dict[str, torch.Size] = {}
    convolutions = {name: one for name, one in backbone.trunk.named_modules() if isinstance(one, nn.Conv2d)}
    hooks = [one.register_forward_hook(_noting(shapes, name)) for name, one in convolutions.items()]
    expected = backbone(image)
    for hook in hooks:
        hook.remove()
    memo: dict[int, Any] = {id(tensor): tensor for tensor in backbone.parameters()}
    made = copy.deepcopy(backbone, memo)
    try:
        for name, conv in convolutions.items():
            shape = torch.Size([batch, *shapes[name][1:]])
            made.trunk.set_submodule(name, PackedConv2d(conv, shape))
        found = made(image)
    except (AttributeError, TypeError, RuntimeError):  # this torch has no oneDNN, or other operators
        return backbone
    close = bool((found - expected).abs().max() <= _CLOSE * expected.abs().max())
    return made if close else backbone


def _noting(shapes: dict[str, torch.Size], name: str) -> Any:
    def note(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        shapes[name] = inputs[0].shape

    return note
