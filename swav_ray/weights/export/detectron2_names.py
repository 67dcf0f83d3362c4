"""A ResNet whose parts have detectron2's names, in plain torch: what verifies an export for detectron2."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from swav_ray.model.resnet import BasicBlock, Bottleneck


class _Convolution(nn.Conv2d):
    """A convolution that holds its BatchNorm as `norm`."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, side, stride, padding=side // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


class _Block(nn.Module):
    def __init__(self, inputs: int, planes: int, outputs: int, stride: int) -> None:
        super().__init__()
        if outputs == planes:
            layers = [_Convolution(inputs, planes, 3, stride), _Convolution(planes, planes, 3)]
        else:
            layers = [_Convolution(inputs, planes, 1), _Convolution(planes, planes, 3, stride)]
            layers.append(_Convolution(planes, outputs, 1))
        self.count = len(layers)
        for number, layer in enumerate(layers, 1):
            self.add_module(f"conv{number}", layer)
        self.shortcut = _Convolution(inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for number in range(1, self.count + 1):
            out = self.get_submodule(f"conv{number}")(out)
            out = F.relu(out) if number < self.count else out
        return F.relu(out + (x if self.shortcut is None else self.shortcut(x)))


class _Stem(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _Convolution(3, channels, 7, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.conv1(x)), 3, 2, padding=1)


class Trunk(nn.Module):
    """Images (N, 3, H, W) to features (N, D), average-pooled.

    Args:
        block: which the stages consist of. counts: of blocks in each stage. stem: channels of the first convolution.
    """

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], counts: tuple[int, int, int, int], *, stem: int
    ) -> None:
        super().__init__()
        self.stem = _Stem(stem)
        channels = stem
        for stage, count in enumerate(counts):
            planes = stem * 2**stage
            outputs = planes * block.expansion
            blocks = []
            for index in range(count):
                blocks.append(_Block(channels, planes, outputs, 2 if stage and not index else 1))
                channels = outputs
            self.add_module(f"res{stage + 2}", nn.Sequential(*blocks))

    def load_state_dict(self, state: dict[str, Tensor]) -> None:  # type: ignore[override]
        """Strictly, but for BatchNorm's counters, which a detector has no use for."""
        counters = {name: value for name, value in self.state_dict().items() if name.endswith("num_batches_tracked")}
        super().load_state_dict({**counters, **state})

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for stage in range(2, 6):
            x = self.get_submodule(f"res{stage}")(x)
        return x.mean((2, 3))
