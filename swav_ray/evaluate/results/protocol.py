"""What an evaluation is and what it says: a protocol is data, a result carries its version and hash."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
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
        """As a table shows it: the value and, in brackets, its interval."""
        if isinstance(self.value, int):
            return f"{self.value:,}"
        digits, unit = (1, "%") if self.unit == "%" else (3, "")
        shown = f"{self.value:.{digits}f}{unit}"
        if self.low is None or self.high is None:
            return shown
        return f"{shown} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What `results.json` holds.

    Attributes:
        backbone: the place of the weights. weights: their sha256.
        train, val: which images, see `splits.Split.about`. preprocessing: how they were prepared.
        figures: by name; the first is the one to compare by.
        correct: for each image of the validation set by sample id whether it was right, if figures count images: for
            paired tests between backbones.
        draws: the first figure on images drawn anew, see `draws_of`, if it counts no images: for the same.
        notes: lines for people: what was left out, what is not as published.
    """

    protocol: Protocol
    backbone: str
    weights: str
    train: Mapping[str, Any]
    val: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    figures: Mapping[str, Figure]
    correct: Mapping[int, bool] = field(default_factory=dict)
    draws: Sequence[float] = ()
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
            "train": dict(self.train),
            "val": dict(self.val),
            "preprocessing": dict(self.preprocessing),
            "figures": {name: asdict(figure) for name, figure in self.figures.items()},
            "correct": {str(sample): right for sample, right in self.correct.items()},
            "draws": list(self.draws),
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


def bootstrap(statistic: Callable[..., float], *arrays: np.ndarray, unit: str = "%") -> Figure:
    """A figure of images with its interval over images drawn anew (Efron, 1979).

    Args:
        statistic: of the arrays, each (images, ...).
    """
    return of_draws(float(statistic(*arrays)), draws_of(statistic, *arrays), unit=unit)


def draws_of(statistic: Callable[..., float], *arrays: np.ndarray, draws: int = 200) -> np.ndarray:
    """The statistic on as many images, drawn with replacement, so many times; (draws,).

    The seed is fixed: two backbones that are judged on the same images are judged on the same draws.
    """
    generator = np.random.default_rng(0)
    images = len(arrays[0])
    values = []
    for _ in range(draws):
        rows = generator.integers(0, images, images)
        values.append(statistic(*(array[rows] for array in arrays)))
    return np.array(values, np.float64)


def of_draws(value: float, draws: np.ndarray, *, unit: str = "%") -> Figure:
    """A figure with 1.96 standard deviations of its draws to both sides.

    Not the draws' own percentiles: a draw holds some images twice, which agree with themselves, so that figures of
    agreement are higher in every draw.
    """
    half = _Z * float(np.std(draws))
    return Figure(value=value, low=value - half, high=value + half, unit=unit)


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


def paired_draws_test(first: Result, second: Result) -> float:
    """The chance of a difference of two first figures as large by luck, from their draws.

    The paired bootstrap (Efron and Tibshirani, 1993): a draw holds the same images for both, so what is easy or hard
    about them is in both figures and leaves their difference. The difference is taken for normal.
    """
    values = [next(iter(result.figures.values())).value for result in (first, second)]
    spread = float(np.std(np.subtract(second.draws, first.draws)))
    if spread == 0:
        return 1.0 if values[0] == values[1] else 0.0
    return math.erfc(abs(values[1] - values[0]) / spread / math.sqrt(2))
