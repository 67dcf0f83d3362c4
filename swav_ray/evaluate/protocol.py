"""What an evaluation is and what it says: a protocol is data, a result carries its version and hash."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

_Z = 1.959964  # of a 95% interval


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A way of judging a backbone.

    Attributes:
        name: as on the command line.
        version: raised whenever the same settings would give other figures.
        settings: everything that a figure depends on beside backbone and data, by name, as JSON holds it.
        source: where it is defined.
    """

    name: str
    version: int
    settings: Mapping[str, Any]
    source: str

    def digest(self) -> str:
        """Twelve hex digits that differ whenever name, version or a setting does."""
        content = [self.name, self.version, dict(self.settings)]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of a result.

    Attributes:
        value: of it. low, high: its 95% confidence interval over the images that it was measured on; None: it has none.
        unit: "%" or what it is counted in. higher_is_better: which way is up.
        published: the paper's figure for the published weights, or None.
    """

    value: float
    unit: str = "%"
    low: float | None = None
    high: float | None = None
    higher_is_better: bool = True
    published: float | None = None

    def text(self) -> str:
        """As a table shows it, the interval as plus or minus."""
        if isinstance(self.value, int):
            return f"{self.value:,}"
        shown = f"{self.value:.1f}%" if self.unit == "%" else f"{self.value:.3f}"
        if self.low is None or self.high is None:
            return shown
        half = (self.high - self.low) / 2
        return f"{shown} ± {half:.1f}" if self.unit == "%" else f"{shown} ± {half:.3f}"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What `results.json` holds.

    Attributes:
        backbone: the place of the weights. weights: their sha256.
        figures: by name; the first is the one to compare by.
        correct: for each image of the validation set by sample id whether it was right, if figures count images: for
            paired tests between backbones.
        notes: lines for people: what was left out, what is not as published.
    """

    protocol: Protocol
    backbone: str
    weights: str
    train: str
    val: str
    figures: Mapping[str, Figure]
    correct: Mapping[int, bool] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "protocol": self.protocol.name,
            "version": self.protocol.version,
            "hash": self.protocol.digest(),
            "settings": dict(self.protocol.settings),
            "source": self.protocol.source,
            "backbone": self.backbone,
            "weights": self.weights,
            "train": self.train,
            "val": self.val,
            "figures": {name: asdict(figure) for name, figure in self.figures.items()},
            "correct": {str(sample): right for sample, right in self.correct.items()},
            "notes": list(self.notes),
            "environment": environment(),
        }


def environment() -> dict[str, str]:
    """What it ran on: versions and machine."""
    devices = {torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "devices": ", ".join(sorted(devices)) or f"CPU, {torch.get_num_threads()} threads",
    }


def accuracy(correct: np.ndarray, *, published: float | None = None) -> Figure:
    """Share of right answers in percent with Wilson's 95% interval (Wilson, 1927).

    Args:
        correct: (images,) bool.
    """
    images = len(correct)
    share = float(np.mean(correct))
    centre = (share + _Z**2 / (2 * images)) / (1 + _Z**2 / images)
    half = _Z / (1 + _Z**2 / images) * math.sqrt(share * (1 - share) / images + _Z**2 / (4 * images**2))
    return Figure(value=100 * share, low=100 * (centre - half), high=100 * (centre + half), published=published)


def bootstrap(
    statistic: Any, *arrays: np.ndarray, unit: str = "%", published: float | None = None, draws: int = 200
) -> Figure:
    """A figure of images with a percentile interval over images drawn anew (Efron, 1979).

    Args:
        statistic: of the arrays, each (images, ...).
        draws: of as many images with replacement; their seed is fixed.
    """
    generator = np.random.default_rng(0)
    images = len(arrays[0])
    values = []
    for _ in range(draws):
        rows = generator.integers(0, images, images)
        values.append(statistic(*(array[rows] for array in arrays)))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Figure(value=float(statistic(*arrays)), low=float(low), high=float(high), unit=unit, published=published)


def paired_test(first: Mapping[int, bool], second: Mapping[int, bool]) -> tuple[float, float]:
    """Difference in percentage points on the images that both judged, and the chance of one as large by luck.

    McNemar's exact test (1947): of the images on which the two differ each wins half if they are equally good.

    Raises:
        ValueError: they have no image in common.
    """
    both = sorted(first.keys() & second.keys())
    if not both:
        raise ValueError("no image was judged by both")
    gained = sum(second[image] and not first[image] for image in both)
    lost = sum(first[image] and not second[image] for image in both)
    differ = gained + lost
    if differ == 0:
        return 0.0, 1.0
    tail = sum(math.comb(differ, count) for count in range(min(gained, lost) + 1)) / 2**differ
    return 100 * (gained - lost) / len(both), min(1.0, 2 * tail)
