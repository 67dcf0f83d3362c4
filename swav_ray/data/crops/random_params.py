"""What is drawn for each crop: a box, a flip, and the parameters of colour and blur.

Randomness is counter-based: every number is a hash of (seed, epoch, sample_id, crop, slot) and of nothing else, so a
crop is the same on any worker, in any order, after any restart. Geometry and colour use separate slots: one can change
without moving the other. The distributions are those of the published code's transforms (facebookresearch/swav,
src/multicropdataset.py), that is torchvision's RandomResizedCrop, RandomHorizontalFlip, ColorJitter, RandomGrayscale
and a Gaussian blur of uniform radius.

A box is int64 (top, left, height, width, flip). What a colour vector holds is in color_vector.py.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import numpy as np
from numba import njit

from swav_ray.config import AugmentConfig
from swav_ray.data.crops import color_vector
from swav_ray.data.crops.cache_key import source_key
from swav_ray.data.crops.color_vector import FACTOR, GREY, HUE_SHIFT, NO_OP, ORDER, SIGMA

TRIES = 10  # torchvision's RandomResizedCrop: ten tries, then a centre crop
LOG_RATIO = math.log(4 / 3)  # aspect ratios between 3/4 and 4/3

# Slots of the draws of one crop: four for each try of the box, then the flip, then the colour.
_FLIP_SLOT = 4 * TRIES
_COLOR_SLOT = 64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def color_strengths(augment: AugmentConfig) -> np.ndarray:
    """(7,) float64, as `draw_color` takes it: probability of the jitter, its range of factors, its range of hue,
    probability of greyscale, probability of blur, lowest and highest sigma of the blur."""
    jitter, strength = augment.jitter_probability, augment.jitter_strength
    grey, blurred = augment.greyscale_probability, augment.blur_probability
    return np.array([jitter, 0.8 * strength, 0.2 * strength, grey, blurred, *augment.blur_sigma])


@njit(nogil=True)
def _mix(z: np.uint64) -> np.uint64:
    """SplitMix64's finaliser (Steele, Lea and Flood, 2014): every input bit moves every output bit."""
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


@njit(nogil=True)
def crop_key(seed: int, epoch: int, sample_id: int, crop: int) -> np.uint64:
    """The 64-bit key of one crop's draws."""
    key = _mix(np.uint64(seed) + _GOLDEN)
    key = _mix((key ^ np.uint64(epoch)) + _GOLDEN)
    key = _mix((key ^ np.uint64(sample_id)) + _GOLDEN)
    return _mix((key ^ np.uint64(crop)) + _GOLDEN)


@njit(nogil=True)
def uniform(key: np.uint64, slot: int) -> float:
    """Number `slot` of the crop with this key, uniform in [0, 1): SplitMix64 read at a counter."""
    return np.float64(_mix(key + np.uint64(slot + 1) * _GOLDEN) >> np.uint64(11)) * 2.0**-53


def drawn_background(identity: tuple[int, int, int]) -> tuple[int, int, int]:
    """The colour behind the transparent pixels of an image (seed, epoch, sample_id), the same for all its crops."""
    words = np.array(identity, np.uint64).tobytes()
    red, green, blue = hashlib.blake2b(words, digest_size=3, person=b"background").digest()
    return red, green, blue


@njit(nogil=True)
def draw_box(
    key: np.uint64, height: int, width: int, scale: np.ndarray, flip_probability: float, box: np.ndarray
) -> None:
    """Draw the crop of a (height, width) image whose area is `scale` (low, high) of the image's; written to `box`."""
    box[4] = 1 if uniform(key, _FLIP_SLOT) < flip_probability else 0
    for attempt in range(TRIES):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * uniform(key, 4 * attempt))
        ratio = math.exp(LOG_RATIO * (2.0 * uniform(key, 4 * attempt + 1) - 1.0))
        w = int(np.rint(math.sqrt(area * ratio)))
        h = int(np.rint(math.sqrt(area / ratio)))
        if 0 < w <= width and 0 < h <= height:
            box[0] = int(uniform(key, 4 * attempt + 2) * (height - h + 1))
            box[1] = int(uniform(key, 4 * attempt + 3) * (width - w + 1))
            box[2] = h
            box[3] = w
            return
    w, h = width, height
    if width * 4 < height * 3:
        h = int(np.rint(width * 4 / 3))
    elif width * 3 > height * 4:
        w = int(np.rint(height * 4 / 3))
    box[0], box[1], box[2], box[3] = (height - h) // 2, (width - w) // 2, h, w


@njit(nogil=True)
def draw_color(key: np.uint64, strengths: np.ndarray, color: np.ndarray) -> None:
    """Draw one crop's colour vector into `color`; `strengths` as in `color_strengths`."""
    jitter, spread, hue, grey, blur, low, high = strengths
    for k in range(4):
        color[ORDER + k] = NO_OP
    for k in range(3):
        color[FACTOR + k] = 1.0
    color[HUE_SHIFT] = 0.0
    if uniform(key, _COLOR_SLOT) < jitter:
        code = int(uniform(key, _COLOR_SLOT + 1) * 24)  # one of the 24 orders, as a number in the factorial base
        for k in range(4):
            color[ORDER + k] = k
        for k in range(3):
            other = k + code % (4 - k)
            code //= 4 - k
            color[ORDER + k], color[ORDER + other] = color[ORDER + other], color[ORDER + k]
        lowest = max(0.0, 1.0 - spread)
        for k in range(3):
            color[FACTOR + k] = lowest + (1.0 + spread - lowest) * uniform(key, _COLOR_SLOT + 2 + k)
        turn = hue * (2.0 * uniform(key, _COLOR_SLOT + 5) - 1.0)
        color[HUE_SHIFT] = int(turn * 255) & 255  # torchvision: 255 steps a turn, cut toward zero, wrapped at 256
    color[GREY] = 1.0 if uniform(key, _COLOR_SLOT + 6) < grey else 0.0
    color[SIGMA] = 0.0
    if uniform(key, _COLOR_SLOT + 7) < blur:
        color[SIGMA] = low + (high - low) * uniform(key, _COLOR_SLOT + 8)


def _compile_draw_crops(sources: int) -> Callable[..., None]:
    @njit(cache=True, nogil=True)
    def draw_crops(
        identity: tuple[int, int, int],
        height: int,
        width: int,
        scales: np.ndarray,
        flip_probability: float,
        strengths: np.ndarray,
        boxes: np.ndarray,
        colors: np.ndarray,
    ) -> None:
        """Draw every crop of one (height, width) image.

        identity: (seed, epoch, sample_id). scales: (crops, 2) float64, area range of each crop.
        Fills boxes (crops, 5) int64 and colors (crops, COLOR_PARAMS) float32.
        """
        sources  # noqa: B018  (a part of the cache's key, see cache_key.py)
        seed, epoch, sample_id = identity
        for crop in range(boxes.shape[0]):
            key = crop_key(seed, epoch, sample_id, crop)
            draw_box(key, height, width, scales[crop], flip_probability, boxes[crop])
            draw_color(key, strengths, colors[crop])

    return draw_crops


draw_crops = _compile_draw_crops(source_key(color_vector))
