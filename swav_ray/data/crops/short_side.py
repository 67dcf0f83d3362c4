"""The margin around a centre crop, without the code that makes one."""

from __future__ import annotations

SMALL = 64  # pixels


def short_side(size: int) -> int:
    """What the short side of an image is resized to before its middle of ``size`` is cut out, in pixels.

    ``round(size * 256 / 224)``, as on ImageNet; up to a ``size`` of 64 ``size`` itself, as small-image benchmarks do,
    whose images have no margin to lose.
    """
    return size if size <= SMALL else round(size * 256 / 224)
