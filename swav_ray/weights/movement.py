"""How far weights moved since training began, a stage of the network at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_STEM = ("conv1", "bn1")


def moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, float]:
    """The norm of each stage's difference to where it began, relative to its norm there.

    Prototypes count by their direction, since the first step puts them on the unit sphere.

    Args:
        before, after: parameters by published names; running statistics are no weights and left out, and so is what
            only one of the two has, or has in another shape.

    Returns:
        By stage: `stem`, `layer1` to `layer4`, `projection_head`, `prototypes`, as far as they are there; nan for a
        stage that began at zero.
    """
    squares: dict[str, list[float]] = {}
    for name, old in before.items():
        new = after.get(name)
        if new is None or new.shape != old.shape or name.endswith(_STATISTICS):
            continue
        one, other = old.float(), new.float()
        stage = name.partition(".")[0]
        if stage == "prototypes" and name.endswith("weight"):
            one, other = F.normalize(one, dim=1), F.normalize(other, dim=1)
        sums = squares.setdefault("stem" if stage in _STEM else stage, [0.0, 0.0])
        sums[0] += float((other - one).square().sum())
        sums[1] += float(one.square().sum())
    return {
        stage: math.sqrt(moved / start) if start else math.nan
        for stage, (moved, start) in sorted(squares.items(), key=lambda item: _place(item[0]))
    }


def _place(stage: str) -> int:
    order = ("stem", "layer1", "layer2", "layer3", "layer4", "projection_head", "prototypes")
    return order.index(stage) if stage in order else len(order)
