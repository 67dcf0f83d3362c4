"""Which ResNet a trunk's tensors belong to, told by their names and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from swav_ray.model.resnet import DEPTHS, BasicBlock, ResNet
from swav_ray.weights.read import WeightsError


@dataclass(frozen=True)
class Architecture:
    """A trunk as `ResNet` is built: the arguments, and the first convolution's padding in pixels."""

    depth: str
    width: float
    small_image_stem: bool
    stem_padding: int

    def build(self) -> ResNet:
        """The network, in eval mode, its parameters without memory until they are loaded (`assign=True`)."""
        with torch.device("meta"):
            network = ResNet(self.depth, width=self.width, small_image_stem=self.small_image_stem)
        network.conv1.padding = (self.stem_padding, self.stem_padding)
        return network.eval()


def architecture_of(trunk: Mapping[str, Tensor], name: str, *, stem_padding: int | None = None) -> Architecture:
    """The architecture of a trunk.

    Args:
        trunk: tensors by torchvision's names.
        name: of the file, for messages.
        stem_padding: of a 3x3 first convolution, which its weights do not tell; None: 1, as ours and lightly's.

    Raises:
        WeightsError: no ResNet of this package has such stages or such a first convolution.
    """
    counts = tuple(_blocks(trunk, stage) for stage in range(1, 5))
    is_bottleneck = "layer1.0.conv3.weight" in trunk
    depths = [
        depth
        for depth, (block, blocks) in DEPTHS.items()
        if blocks == counts and is_bottleneck != (block is BasicBlock)
    ]
    if not depths:
        kind = "bottleneck" if is_bottleneck else "basic"
        raise WeightsError(f"{name}: stages of {counts} {kind} blocks are none of {', '.join(DEPTHS)}")
    shape = trunk["conv1.weight"].shape
    if len(shape) != 4 or not shape[0] or not trunk["conv1.weight"].is_floating_point():
        raise WeightsError(f"{name}: conv1.weight is {tuple(shape)} of {trunk['conv1.weight'].dtype}, no convolution's")
    filters, _, side, _ = shape
    if side not in (3, 7):
        raise WeightsError(f"{name}: conv1 is {side} x {side}; a ResNet's is 7 x 7, or 3 x 3 for small images")
    small = side == 3
    padding = (1 if stem_padding is None else stem_padding) if small else 3
    return Architecture(depths[0], filters / 64, small, padding)


def _blocks(trunk: Mapping[str, Tensor], stage: int) -> int:
    numbers = [int(found[1]) for key in trunk if (found := re.match(rf"layer{stage}\.(\d+)\.", key))]
    return max(numbers, default=-1) + 1


def load_exactly(network: ResNet, trunk: Mapping[str, Tensor], name: str) -> None:
    """Puts the tensors into a network; each name and shape must be there, and no other.

    A count of batches that BatchNorm has seen may be missing: old files have none, and nothing is computed from it.

    Raises:
        WeightsError: naming what is missing, unexpected, or of another shape.
    """
    expected = network.state_dict()
    counters = {key for key in expected if key.endswith("num_batches_tracked")}
    missing = sorted(expected.keys() - counters - trunk.keys())
    unexpected = sorted(trunk.keys() - expected.keys())
    other = [
        f"{key} {tuple(trunk[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in sorted(expected.keys() & trunk.keys())
        if trunk[key].shape != expected[key].shape
    ]
    problems = [("missing", missing), ("unexpected", unexpected), ("of another shape", other)]
    if told := [f"{what}: {', '.join(keys)}" for what, keys in problems if keys]:
        raise WeightsError(f"{name}: the trunk does not match; {'; '.join(told)}")
    absent = {key: torch.zeros((), dtype=torch.int64) for key in counters - trunk.keys()}
    network.load_state_dict({**trunk, **absent}, assign=True)
