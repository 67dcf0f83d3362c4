"""What a protocol finds out, before it is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from swav_ray.evaluate.protocol import Figure


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """Attributes:
    figures: by name; the first is the one to compare by.
    predicted: the label of each image of the validation split that the first figure counts, (N,) int64.
    notes: lines for people.
    """

    figures: Mapping[str, Figure]
    predicted: np.ndarray
    notes: Sequence[str] = ()
