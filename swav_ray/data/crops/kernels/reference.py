"""The kernels' specification: what each computes, in plain numpy, slowly and without a trick.

A kernel and its twin here agree to the bit, for every shape (tests/data/crops/kernels has one test file a kernel). All
sums are of whole numbers; what is computed in floating point (weights, two quotients of hue) is computed in the same
order. The twins stand beside the kernels, since whoever writes a kernel for other hardware starts from them; nothing
that trains imports this file.

Shapes: S side of a crop, K weights. A picture is (S, S, 3) uint8, as `[y][x][channel]`; `planes_of` and `picture_of`
convert to and from the flat memory that the kernels work on. docs/kernels.md draws it.
"""

from __future__ import annotations

import math

import numpy as np

from swav_ray.data.crops.color_vector import CONTRAST, FACTOR, GREY, HUE, HUE_SHIFT, NO_OP, ORDER, SATURATION

TILE = 16  # lines of a crop are padded to whole tiles
PARTS = 128  # the sum of all weights
UNIT = 1 << 15  # a blend's factor of 1
LIGHTEST_TAP = 1 / 256  # half of a part
_LUMA = (19595, 38470, 7471)  # red, green, blue, of 65536


def padded(length: int) -> int:
    """`length` rounded up to whole tiles."""
    return -(-length // TILE) * TILE


def planes_of(picture: np.ndarray, padding: int = 0) -> np.ndarray:
    """A picture as flat memory `[x][channel][y]`: 3 S lines of padded(S) bytes, and lines up to padded(3 S)."""
    size = len(picture)
    lines = np.full((padded(size * 3), padded(size)), padding, np.uint8)
    lines[: size * 3, :size] = picture.transpose(1, 2, 0).reshape(size * 3, size)
    return lines.reshape(-1)


def picture_of(planes: np.ndarray, size: int) -> np.ndarray:
    """The picture whose planes these are: what `write_crop` writes."""
    lines = planes.reshape(-1, padded(size))[: size * 3, :size]
    return np.ascontiguousarray(lines.reshape(size, 3, size).transpose(2, 0, 1))


def transpose(matrix: np.ndarray) -> np.ndarray:
    """(rows, columns) to (columns, rows)."""
    return np.ascontiguousarray(matrix.T)


def quantize(weights: np.ndarray) -> np.ndarray:
    """Weights (K,) of any sum as whole parts of 128 that add up to 128, (K,) int64.

    The running sum is rounded and then split up, so that rounding errors do not add up.
    """
    sums = np.cumsum(weights)
    return np.diff(np.floor(sums * (PARTS / sums[-1]) + 0.5).astype(np.int64), prepend=0)


def weighted_rows(rows: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """The sum of rows (K, length) uint8, each times its part of 128 (K,), rounded to the nearest level; (length,)."""
    total = (rows.astype(np.int64) * parts[:, None]).sum(axis=0)
    return ((total + PARTS // 2) // PARTS).astype(np.uint8)


def bilinear_parts(start: float, extent: float, size: int) -> list[tuple[int, np.ndarray]]:
    """For each of `size` output pixels: the first source pixel that it is made of, and the parts of 128 from there on.

    All of them are made of source pixels start ... start + extent. The filter is the triangle of PIL's bilinear: it
    reaches one source pixel to each side, or one output pixel if that is wider, and never outside the crop.
    """
    scale = extent / size
    support = max(scale, 1.0)
    out = []
    for i in range(size):
        center = start + (i + 0.5) * scale
        first = max(math.floor(start), math.floor(center - support + 0.5))
        last = min(math.ceil(start + extent), math.floor(center + support + 0.5))
        distance = np.abs((first + 0.5 - center) + np.arange(last - first))
        out.append((first, quantize(np.maximum(1.0 - distance * (1.0 / support), 0.0))))
    return out


def resize_crop(image: np.ndarray, box: tuple[float, float, float, float], flip: bool, size: int) -> np.ndarray:
    """The crop `box` (top, left, height, width) of an image (H, W, 3) uint8 as a picture, mirrored if `flip`.

    Rows are mixed first, then columns; levels are rounded in between.
    """
    top, left, height, width = box
    flat = image.reshape(len(image), -1)
    rows = np.stack([weighted_rows(flat[y : y + len(p)], p) for y, p in bilinear_parts(top, height, size)])
    by_column = rows.reshape(size, -1, 3).transpose(1, 0, 2).reshape(image.shape[1], -1)
    columns = np.stack([weighted_rows(by_column[x : x + len(p)], p) for x, p in bilinear_parts(left, width, size)])
    picture = columns.reshape(size, size, 3).transpose(1, 0, 2)
    return np.ascontiguousarray(picture[:, ::-1] if flip else picture)


def gaussian_taps(sigma: float) -> np.ndarray:
    """Weights of three box blurs after one another, whose variances add up to sigma squared; outermost light ones cut.

    A box of fractional width is `2 * whole + 1` ones and an `edge` below 1 at both ends (Gwosdek et al., 2011).
    """
    variance = sigma * sigma / 3
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    edge = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    box = np.array([edge, *[1.0] * (2 * whole + 1), edge])
    box /= np.cumsum(box)[-1]  # np.sum adds in another order
    taps = _convolve(_convolve(box, box), box)
    while len(taps) > 1 and taps[0] < LIGHTEST_TAP:
        taps = taps[1:-1]
    return taps / np.cumsum(taps)[-1]


def _convolve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = np.zeros(len(a) + len(b) - 1)
    for i, weight in enumerate(a):
        out[i : i + len(b)] += weight * b
    return out


def blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    """A picture blurred along x and then along y, levels rounded in between; past the edge the border pixel repeats.

    Along x, the taps that fall outside are added to the border's before they become parts of 128.
    """
    size, taps = len(picture), gaussian_taps(sigma)
    half = len(taps) // 2
    columns = picture.transpose(1, 0, 2).reshape(size, -1)
    across = np.empty_like(columns)
    for x in range(size):
        folded = np.zeros(size)
        for k, tap in enumerate(taps):
            folded[min(max(x - half + k, 0), size - 1)] += tap
        across[x] = weighted_rows(columns, quantize(folded))
    rows = across.reshape(size, size, 3).transpose(1, 0, 2).reshape(size, -1)
    bordered = np.pad(rows, ((half, half), (0, 0)), mode="edge")
    parts = quantize(taps)
    return np.stack([weighted_rows(bordered[y : y + len(parts)], parts) for y in range(size)]).reshape(size, size, 3)


def _upper(a: np.ndarray | int, b: np.ndarray | int) -> np.ndarray:
    """a * b / 65536, cut: the upper half of a product of 16-bit numbers."""
    return np.asarray(a, np.int64) * b >> 16


def luma(picture: np.ndarray) -> np.ndarray:
    """PIL's grey (S, S) of a picture, whole levels.

    One more than half a level (of 256) is added: what cutting the three products loses on average.
    """
    red, green, blue = (_upper(picture[..., i].astype(np.int64) << 8, _LUMA[i]) for i in range(3))
    return red + green + blue + 128 + 1 >> 8


def blend(picture: np.ndarray, base: np.ndarray | int, factor: int) -> np.ndarray:
    """base + factor / UNIT * (picture - base), cut to whole levels 0 ... 255; base (S, S) or one level.

    All terms have 7 bits of fraction. Each is cut, so one unit of the fraction is added.
    """
    base = np.asarray(base, np.int64)[..., None] << 8
    toward, away = max(UNIT - factor, 0), max(factor - UNIT, 0)
    scaled = np.maximum(_upper(picture.astype(np.int64) << 8, factor) - _upper(base, away), 0)
    return np.minimum(scaled + _upper(base, toward) + 1 >> 7, 255).astype(np.uint8)


def turn_hue(picture: np.ndarray, shift: int) -> np.ndarray:
    """To PIL's HSV of 8 bits each, cut; the hue turned by `shift` / 256 of a circle; back to RGB, rounded."""
    red, green, blue = (picture[..., channel].astype(np.int64) for channel in range(3))
    high, low = picture.max(-1).astype(np.int64), picture.min(-1).astype(np.int64)
    chroma = high - low
    reddest, greenest = red == high, green == high
    slope = np.where(reddest, green - blue, np.where(greenest, blue - red, red - green))
    corner = np.where(reddest, 0, np.where(greenest, 255 // 3, 255 * 2 // 3))
    part = slope.astype(np.float32) / np.maximum(chroma, 1).astype(np.float32) * np.float32(255 / 6)
    hue = (part + np.float32(255)).astype(np.int64) - 255 + corner  # a circle more while cut: a cut goes towards zero
    sixths = (np.where(hue < 0, hue + 255, hue) + shift) % 256 * 6  # of a circle / 255
    quotient = (chroma * 255).astype(np.float32) / np.maximum(high, 1).astype(np.float32)
    depth = high * quotient.astype(np.int64)  # how far the lowest channel is below the highest, in levels * 255
    depth += (depth >> 7) + 1  # in levels * 257, about
    falls = (
        2 * 255 - np.abs(sixths - 3 * 255),  # red: most at the opposite side of the circle
        np.abs(sixths - 2 * 255) - 255,  # green: least at a third of the circle
        np.abs(sixths - 4 * 255) - 255,  # blue
    )
    return np.stack([_lowered(high, depth, fall) for fall in falls], axis=-1)


def _lowered(high: np.ndarray, depth: np.ndarray, fall: np.ndarray) -> np.ndarray:
    """high - depth * fall / 255, rounded; fall is held within 0 ... 255."""
    drop = _upper(depth, np.clip(fall, 0, 255) << 8)
    return ((high << 8) + 128 - drop >> 8).astype(np.uint8)


def color_lines(picture: np.ndarray, operations: list[tuple[int, int]], mean: int) -> np.ndarray:
    """Operations (code, factor or shift of hue) after one another; `mean` is the grey that contrast blends with."""
    for code, factor in operations:
        if code == HUE:
            picture = turn_hue(picture, factor)
        else:
            base = mean if code == CONTRAST else luma(picture) if code == SATURATION else 0
            picture = blend(picture, base, factor)
    return picture


def jitter(picture: np.ndarray, color: np.ndarray) -> np.ndarray:
    """A colour vector's jitter and greyscale. Contrast blends with the mean grey of what the operations before left."""
    operations = []
    for code in color[ORDER : ORDER + 4].astype(int):
        if code == HUE:
            operations.append((HUE, int(color[HUE_SHIFT])))
        elif code != NO_OP:
            operations.append((code, min(int(float(color[FACTOR + code]) * UNIT + 0.5), 2 * UNIT - 1)))
    if color[GREY]:
        operations.append((SATURATION, 0))
    for operation in operations:
        mean = int(luma(picture).sum() / picture[..., 0].size + 0.5) if operation[0] == CONTRAST else 0
        picture = color_lines(picture, [operation], mean)
    return picture
