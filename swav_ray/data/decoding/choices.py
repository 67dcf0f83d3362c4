"""How the pixels of a data set become 8-bit RGB: a property of the set, not of an image. Imports no decoder."""

from __future__ import annotations

from dataclasses import dataclass

from swav_ray.config import DataConfig

WHITE, GREY = (255, 255, 255), (128, 128, 128)
ALPHAS = {"drop": None, "white": WHITE, "grey": GREY, "random": GREY}
"""What lies behind transparent pixels; random stands for grey if no colour is drawn, as in evaluations."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """What a decoder is told beside an image's bytes.

    Attributes:
        value_range: (low, high) of samples deeper than 8 bits, which become 0 and 255, those beyond clipped; None: the
            range of their type (0 to 65535, 0.0 to 1.0, all of int32).
        alpha: what transparent pixels become, one of ALPHAS; drop: the colours below, as the published loader has it.
        max_pixels: of a decoded image; 268 MB as RGB by default, from which on PIL warns of decompression bombs.
        strict: whether a JPEG that lacks nothing but its end marker is refused.
    """

    value_range: tuple[float, float] | None = None
    alpha: str = "drop"
    max_pixels: int = 89_478_485
    strict: bool = False


def decoding_of(data: DataConfig, measured: tuple[float, float] | None) -> Decoding:
    """What the settings of a data set ask for.

    Args:
        measured: the range that fits its images, for `data.value_range` auto; None: that of their type.
    """
    return Decoding(
        value_range=measured if data.value_range == "auto" else data.bounds,
        alpha=data.alpha,
        max_pixels=data.max_pixels,
        strict=data.strict,
    )
