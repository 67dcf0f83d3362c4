"""How the pixels of a data set become 8-bit RGB: a property of the set, not of an image. Imports no decoder."""

from __future__ import annotations

from dataclasses import dataclass

MAX_PIXELS = 89_478_485  # above this PIL warns of a decompression bomb; 268 MB as RGB
ALPHAS = {"drop": None, "white": (255, 255, 255), "grey": (128, 128, 128), "random": (128, 128, 128)}
"""What lies behind transparent pixels; random stands for grey if no colour is drawn, as in evaluations."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """What a decoder is told beside an image's bytes.

    Attributes:
        value_range: (low, high) of samples deeper than 8 bits, which become 0 and 255, those beyond clipped; None: the
            range of their type (0 to 65535, 0.0 to 1.0, all of int32).
        alpha: what transparent pixels become, one of ALPHAS; drop: the colours below, as the published loader has it.
        max_pixels: of an image, after what the format can leave out while decoding.
        strict: whether a JPEG that lacks nothing but its end marker is refused.
    """

    value_range: tuple[float, float] | None = None
    alpha: str = "drop"
    max_pixels: int = MAX_PIXELS
    strict: bool = False
