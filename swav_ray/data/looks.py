"""What a sample of a place's images looks like: the depth and range of its values, and their transparency.

These decide how all its images are decoded (`Decoding`), so they are measured once, when the place is indexed
(looking.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from swav_ray.data.decoding.choices import Decoding

_HIGHEST = 65535  # of 16 bits
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
