"""What a sample of a place's images looks like: the depth and range of its values, and their transparency.

These decide how all its images are decoded (`Decoding`), so they are measured once, when the place is indexed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from swav_ray.data.decoding.choices import GREY, WHITE, Decoding
from swav_ray.data.formats.shards import drop_cache
from swav_ray.data.sources import Sample, read_samples

if TYPE_CHECKING:
    from swav_ray.data.manifest import Manifest

_SAMPLES = 64  # images that are looked at, spread evenly over the place
_BYTES = 64 << 20  # of them that are read at most
_HIGHEST = 65535  # of 16 bits; samples that use more than half of it have all of it for their range
_SCARCE = 16  # images that use no more than this part of their range have few levels left


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Of a sample of images.

    Attributes:
        images: that could be read.
        deep: images of more than 8 bits. low, high: their smallest and largest value.
        value_range: the (low, high) that fits all of them; None: that of their type.
        transparent: images with transparent pixels. constant: those of them that are one constant colour if their
            transparency is dropped. constant_white, constant_grey: if they are laid over white, or grey.
    """

    images: int = 0
    deep: int = 0
    low: float = 0.0
    high: float = 0.0
    value_range: tuple[float, float] | None = None
    transparent: int = 0
    constant: int = 0
    constant_white: int = 0
    constant_grey: int = 0

    def notes(self, decoding: Decoding) -> list[str]:
        """Lines for the user about what becomes of these images."""
        lines = []
        if self.deep:
            lines.append(self._about_range(decoding))
        if self.transparent and decoding.alpha == "drop":
            lost = f"; {self.constant:,} of them become one constant colour" if self.constant else ""
            lines.append(
                f"{self.transparent:,} of {self.images:,} images looked at are transparent in part, and become the "
                f"colours hidden below{lost}: {self._about_backgrounds()}"
            )
        elif self.transparent:
            lines.append(
                f"{self.transparent:,} of {self.images:,} images looked at are transparent in part, and are laid over "
                f"{decoding.alpha}{' colours' if decoding.alpha == 'random' else ''} (data.alpha)"
            )
        return lines

    def _about_backgrounds(self) -> str:
        """What lays them over the colour that leaves the fewest constant: drawings are dark, symbols often white."""
        best, lost = ("white", self.constant_white)
        if self.constant_grey < self.constant_white:
            best, lost = "grey", self.constant_grey
        left = f", and leaves {lost:,} constant" if self.constant else ""
        return f"data.alpha {best} lays them over {best}{left}"

    def _about_range(self, decoding: Decoding) -> str:
        seen = f"{self.deep:,} of {self.images:,} images looked at have more than 8 bits, with values from "
        seen += f"{self.low:g} to {self.high:g}; "
        if decoding.value_range is None:
            low, high = 0.0, 1.0 if self.high <= 1 else float(_HIGHEST)
            became = f"{seen}{low:g} to {high:g} (that of their type)"
        else:
            low, high = decoding.value_range
            became = f"{seen}{low:g} to {high:g}"
        used = (min(self.high, high) - max(self.low, low)) / (high - low)
        advice = (
            f", of which they use less than a {_SCARCE}th, so few levels are left: data.value_range auto measures it"
            if used < 1 / _SCARCE
            else " (data.value_range)"
        )
        return f"{became} becomes black to white{advice}"


def look(manifest: Manifest) -> Looks:
    """Looks at a sample of a place's images, the same one each time. Unreadable images are left out."""
    # Whoever only loads a list decodes nothing.
    from swav_ray.data.decoding.decode import SourceImage, UnreadableImage
    from swav_ray.data.decoding.levels import over

    images = deep = transparent = constant = white = grey = 0
    lows, highs, ranges = [], [], []
    for data in _sample(manifest):
        try:
            source = SourceImage(data)
            samples = source.deep_samples()
            see_through = source.is_transparent()
            one_color = see_through and is_constant(source.pixels())
            over_white = see_through and is_constant(over(source.rgba(), WHITE))
            over_grey = see_through and is_constant(over(source.rgba(), GREY))
        except UnreadableImage:
            continue
        images += 1
        transparent += see_through
        constant += one_color
        white += over_white
        grey += over_grey
        if samples is None or not np.isfinite(samples[0]).any():
            continue
        values, declared = samples[0][..., :3] if samples[0].ndim == 3 else samples[0], samples[1]
        finite = values[np.isfinite(values)]
        deep += 1
        lows.append(float(finite.min()))
        highs.append(float(finite.max()))
        ranges.append(declared or _range_of(values.dtype, lows[-1], highs[-1]))
    return Looks(
        images=images,
        deep=deep,
        low=min(lows, default=0.0),
        high=max(highs, default=0.0),
        value_range=_joined(ranges),
        transparent=transparent,
        constant=constant,
        constant_white=white,
        constant_grey=grey,
    )


def is_constant(pixels: np.ndarray) -> bool:
    """Whether all pixels (H, W, 3) are of one colour."""
    return bool((pixels == pixels[0, 0]).all())


def _sample(manifest: Manifest) -> Iterator[bytes | np.ndarray]:
    """Images spread evenly over the place, as far as they can be read, until enough bytes were."""
    count = min(_SAMPLES, len(manifest))
    ids = np.arange(count) * len(manifest) // max(1, count)
    held = 0
    for sample in read_samples(manifest, ids):
        data: Sample = sample
        if isinstance(data, Exception):
            continue
        yield data
        held += data.nbytes if isinstance(data, np.ndarray) else len(data)
        if held > _BYTES:
            break
    drop_cache()  # 64 MiB that nobody may ever ask for


def _range_of(kind: np.dtype, low: float, high: float) -> tuple[float, float]:
    """The range of one image's samples by what they are, from 0 on unless some are below."""
    if kind == np.uint16 and high > _HIGHEST // 2:
        return 0.0, float(_HIGHEST)
    return min(low, 0.0), max(high, 1.0) if kind.kind == "f" else high


def _joined(ranges: list[tuple[float, float]]) -> tuple[float, float] | None:
    """The smallest range that holds all of them; None if that is all that their type can hold, or nothing at all."""
    low, high = min((low for low, _ in ranges), default=0.0), max((high for _, high in ranges), default=0.0)
    return (low, high) if low < high and (low, high) not in ((0, 1), (0, _HIGHEST)) else None
