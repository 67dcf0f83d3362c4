"""At which scale a stage's map is, and which one a box is pooled from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper


def stride_of(trunk: Any, stage: int) -> int:
    """Pixels of an image that a cell of the map of layer `stage` stands for, in each direction."""
    stem = trunk.conv1.stride[0] * getattr(trunk.maxpool, "stride", 1)
    return int(stem * 2 ** (stage - 1))


def fixed_levels(pool: MultiScaleRoIAlign, strides: Sequence[int], usual_box: float = 224.0) -> None:
    """Tells a pool the scale of its maps.

    By itself it guesses them from the first batch, from then on for good: an image whose sides are small against the
    padding gives another guess, and a resumed run begins with another batch.

    Args:
        strides: of its maps, each twice that before. usual_box: side in pixels of a box for the third of them.
    """
    pool.scales = [1 / stride for stride in strides]
    first = strides[0].bit_length() - 1
    pool.map_levels = LevelMapper(
        first,
        first + len(strides) - 1,
        canonical_scale=usual_box,
        canonical_level=first + 2,
    )
