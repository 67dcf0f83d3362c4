"""Looks at a sample of a place's images, for `Looks`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from swav_ray.data.decoding.choices import GREY, WHITE
from swav_ray.data.formats.shards import drop_cache
from swav_ray.data.looks import Looks
from swav_ray.data.samples import Manifest
from swav_ray.data.sources import Sample, read_samples

_SAMPLES = 64  # images that are looked at, spread evenly over the place
_BYTES = 64 << 20  # of them that are read at most
_HIGHEST = 65535  # of 16 bits; samples that use more than half of it have all of it for their range


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
