"""ResNet trunks (He et al., 2016) as SwAV uses them: no classifier, any width, an optional stem for small images.

Parameter names are those of the published SwAV checkpoints, which are torchvision's. A widened network multiplies the
channels of every layer (the paper's RN50-w2, w4, w5), unlike torchvision's `wide_resnet`, which widens only the
bottlenecks' inner layer.
"""

from __future__ import annotations

from torch import Tensor, nn


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels)


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def _conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, stride, bias=False)


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, planes, stride)
        self.bn1 = _norm(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv3x3(planes, planes)
        self.bn2 = _norm(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += shortcut  # in place: no copy of the largest activations
        return self.relu(out)


class Bottleneck(nn.Module):
    """The stride is in the 3x3 convolution ("v1.5"), as in torchvision and the published SwAV models."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = _conv1x1(inputs, planes)
        self.bn1 = _norm(planes)
        self.conv2 = _conv3x3(planes, planes, stride)
        self.bn2 = _norm(planes)
        self.conv3 = _conv1x1(planes, planes * self.expansion)
        self.bn3 = _norm(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += shortcut
        return self.relu(out)


DEPTHS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}


class ResNet(nn.Module):
    """Images (N, 3, H, W) to features (N, `feature_dim`), average-pooled.

    Args:
        depth: resnet18, resnet34, resnet50 or resnet101.
        width: multiplies the channels of every layer; 64 x width must round to at least 1.
        small_image_stem: a 3x3 stride-1 first convolution without max-pool, for images of 32 to 64 pixels.
    """

    def __init__(self, depth: str, *, width: float = 1.0, small_image_stem: bool = False) -> None:
        super().__init__()
        block, counts = DEPTHS[depth]
        base = round(64 * width)
        self.conv1 = _conv3x3(3, base) if small_image_stem else nn.Conv2d(3, base, 7, 2, padding=3, bias=False)
        self.bn1 = _norm(base)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small_image_stem else nn.MaxPool2d(3, 2, padding=1)
        channels = base
        stages = []
        for stage, count in enumerate(counts):
            planes, stride = base * 2**stage, 1 if stage == 0 else 2
            stages.append(_stage(block, channels, planes, count, stride))
            channels = planes * block.expansion
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.feature_dim = channels
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def feature_map(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) to what is pooled, (N, `feature_dim`, h, w)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.avgpool(self.feature_map(x)).flatten(1)


def _stage(
    block: type[BasicBlock] | type[Bottleneck], channels: int, planes: int, count: int, stride: int
) -> nn.Sequential:
    outputs = planes * block.expansion
    downsample = None
    if stride != 1 or channels != outputs:
        downsample = nn.Sequential(_conv1x1(channels, outputs, stride), _norm(outputs))
    first = block(channels, planes, stride, downsample)
    return nn.Sequential(first, *(block(outputs, planes, 1, None) for _ in range(count - 1)))
