"""The built-in data set: small JPEGs of ten classes, each a texture; five outlines have two of the textures each.

Place, size, tilt, phase and background vary at random, so the nearest images in pixel space are of another class one
time in three, while a texture survives every augmentation of SwAV: what the quickstart has to learn. Images are grey
and their backgrounds are equally bright on the whole, since SwAV tells images apart by whatever their crops share:
colour and brightness come first.

Sample i of a split is drawn from a counter keyed (seed, split, i) alone, and the pixels are made with integer drawing
and plain arithmetic (no libm call decides a pixel), so the same arguments give the same images on any machine; the
bytes are then as equal as the JPEG and Parquet libraries' versions.

Knows nothing of torch, Ray or the config.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Protocol, Self

import cv2
import numpy as np
import pyarrow as pa
import simplejpeg

from swav_ray.data.formats.names import SPLITS
from swav_ray.data.formats.shard_writer import ShardLayout, StoredImage, write_shard

OUTLINES = ("disc", "square", "triangle", "star", "cross")
# Two for each outline, unlike each other.
TEXTURES = (
    ("dotted", "barred"),
    ("tiled", "striped"),
    ("checked", "hatched"),
    ("speckled", "ruled"),
    ("ringed", "zigzag"),
)
MARKER = "_shapes.json"
RADIUS = (0.26, 0.38)
PERIOD = (0.184, 0.232)
VERSION = 3  # of the drawing; a data set of another version is not this one
_JPEG_QUALITY = 92
# Not `imported_layout`: runs hold fingerprints of shards that were written like this.
_LAYOUT = ShardLayout(
    pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("label", pa.int64()),
            ("split", pa.string()),
        ]
    ),
    group_rows=64,  # a reader that wants one row decodes no more than this
    dictionary=("label", "split"),
    ranges=False,
)

Uniform = Callable[[float, float], float]


class Folder(Protocol):
    """What `write_shapes` needs of a place (`swav_ray.storage.place.Place` has it)."""

    def __truediv__(self, name: str) -> Self: ...
    def exists(self) -> bool: ...
    def read_bytes(self) -> bytes: ...
    def write_bytes(self, data: bytes) -> object: ...


def class_names() -> tuple[str, ...]:
    """The ten names in the order of the labels, e.g. ``striped square``."""
    return tuple(f"{texture} {outline}" for outline, pair in zip(OUTLINES, TEXTURES, strict=True) for texture in pair)


def draw_image(index: int, *, split: str, size: int, seed: int) -> tuple[np.ndarray, int]:
    """Image ``index`` of a split and its label.

    Returns:
        image (size, size, 3) uint8 RGB and a label in 0..9, uniform over the classes.

    Raises:
        ValueError: a split other than train or test, a negative index, or a size below 16.
    """
    if split not in SPLITS or index < 0 or size < 16:
        raise ValueError(f"no such image: split {split!r} (train, test), index {index} (>= 0), size {size} (>= 16)")
    rng = np.random.Generator(np.random.Philox(key=[seed, (SPLITS.index(split) << 48) + index]))

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * rng.random()

    label = int(uniform(0, 2 * len(OUTLINES)))
    image = _background(size, uniform)
    mask = _outline_mask(OUTLINES[label // 2], size, uniform)
    fill = _texture(TEXTURES[label // 2][label % 2], size, uniform)
    dark, light = np.float32(uniform(0, 60)), np.float32(uniform(190, 255))
    image += mask * (dark + fill * (light - dark) - image)
    noise = np.frombuffer(rng.bytes(size * size * 3), np.uint8).reshape(size, size, 3)
    noisy = image[..., None] + noise * np.float32(0.05)
    return np.clip(noisy, 0, 255).astype(np.uint8), label


def _direction(uniform: Uniform, limit: float = np.pi) -> tuple[float, float]:
    """Cosine and sine of a random angle in [-limit, limit], rounded so that libm's last bit cannot matter."""
    angle = uniform(-limit, limit)
    return round(float(np.cos(angle)), 4), round(float(np.sin(angle)), 4)


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates from the image's centre, in image sides: x (1, size) and y (size, 1), float32."""
    line = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size) - np.float32(0.5)
    return line[None, :], line[:, None]


def _background(size: int, uniform: Uniform) -> np.ndarray:
    """Blotches of greys, (size, size) float32 in 40..215."""
    coarse = np.array([[uniform(40, 216) for _ in range(6)] for _ in range(6)], np.float32).astype(np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.float32)


def _corners(outline: str) -> np.ndarray:
    """Corners of an outline about the origin, y down, (corners, 2) float64; the outlines' areas are about equal."""
    if outline == "square":
        return 0.87 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float)
    if outline == "cross":
        a, b = 0.36, 1.2  # half an arm's width, and its length
        points = [
            (-a, -b),
            (a, -b),
            (a, -a),
            (b, -a),
            (b, a),
            (a, a),
            (a, b),
            (-a, b),
            (-a, a),
            (-b, a),
            (-b, -a),
            (-a, -a),
        ]
        return np.array(points, float)
    radii = {"disc": [1.0] * 40, "triangle": [1.5] * 3, "star": [1.4, 0.6] * 5}[outline]
    angles = 2 * np.pi * np.arange(len(radii)) / len(radii)
    return np.array(radii)[:, None] * np.stack([np.sin(angles), -np.cos(angles)], axis=1)


def _outline_mask(outline: str, size: int, uniform: Uniform) -> np.ndarray:
    """Where the object lies, (size, size) float32 in 0..1: of random size and place, tilted by up to 20 degrees."""
    cos, sin = _direction(uniform, np.pi / 9)
    turned = _corners(outline) @ np.array([(cos, sin), (-sin, cos)])
    radius = uniform(*RADIUS)
    reach = radius * np.abs(turned).max(axis=0)
    center = np.array([uniform(low, 1 - low) for low in np.minimum(0.85 * reach, 0.5)])
    fine = np.zeros((4 * size, 4 * size), np.uint8)
    points = np.rint((center + radius * turned) * 4 * size).astype(np.int32)
    cv2.fillPoly(fine, [points], 255)
    return cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _texture(texture: str, size: int, uniform: Uniform) -> np.ndarray:
    """A pattern of random phase and scale, turned by up to 15 degrees; (size, size) float32 in 0..1, edges soft."""
    x, y = _grid(size)
    cos, sin = (np.float32(v) for v in _direction(uniform, np.pi / 12))
    period = np.float32(uniform(*PERIOD))
    a = (x * cos + y * sin) / period + np.float32(uniform(0, 1))
    b = (y * cos - x * sin) / period + np.float32(uniform(0, 1))
    if texture == "speckled":
        grain = size // 2
        coarse = np.array([uniform(0, 255) for _ in range(grain * grain)], np.float32).reshape(grain, grain)
        grains = np.where(coarse > 127, 255, 0).astype(np.uint8)
        return cv2.resize(grains, (size, size), interpolation=cv2.INTER_NEAREST).astype(np.float32) / 255
    inside = {
        "striped": lambda: _wave(a),
        "barred": lambda: _wave(b),
        "hatched": lambda: _wave(2 * a) / 2,
        "ruled": lambda: _wave(2 * b) / 2,
        "zigzag": lambda: _wave(a + 2 * np.abs(_wave(b))),
        "checked": lambda: _wave(a / 1.5) * _wave(b / 1.5) * 6,
        "tiled": lambda: _wave(a) * _wave(b) * 4,
        "dotted": lambda: np.float32(0.18) - _length(0.5 - 2 * _wave(2 * a), 0.5 - 2 * _wave(2 * b)) / 4,
        "ringed": lambda: np.float32(0.13) - np.abs(_length(a % 1 - 0.5, b % 1 - 0.5) - np.float32(0.3)),
    }[texture]()
    return np.clip(inside * period * np.float32(size) + np.float32(0.5), 0, 1)


def _wave(t: np.ndarray) -> np.ndarray:
    """A triangle wave of period 1 between -1/4 and 1/4."""
    return np.abs(t - np.floor(t) - np.float32(0.5)) - np.float32(0.25)


def _length(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of vectors; by a square root, which is the same on any machine, as libm's hypot need not be."""
    return np.sqrt(x * x + y * y)


def _images(indices: range, *, split: str, size: int, seed: int) -> Iterator[StoredImage]:
    for index in indices:
        image, label = draw_image(index, split=split, size=size, seed=seed)
        encoded = simplejpeg.encode_jpeg(image, quality=_JPEG_QUALITY, colorspace="RGB", colorsubsampling="444")
        yield StoredImage(encoded, f"{split}/{index:06d}.jpg", label)


def write_shapes(
    out: Folder, *, train: int = 6000, test: int = 1000, size: int = 48, seed: int = 0, rows_per_shard: int = 1024
) -> None:
    """Writes the data set as ``train-00000-of-00006.parquet`` and so on; does nothing if it is already complete.

    A marker file says what is being written and, at the very end, that all of it is there; so what an interruption
    left behind is written again, over the same names.

    Args:
        out: an empty place, or one that holds this very data set, whole or in part.
        train: images of the training split.
        test: images of the held-out split.
        size: side of the images in pixels, at least 16.
        rows_per_shard: images a file.

    Raises:
        ValueError: ``out`` holds a data set made with other arguments, or an argument is out of range.
    """
    if train < 1 or test < 0 or rows_per_shard < 1 or size < 16 or not 0 <= seed < 2**63:
        raise ValueError(
            f"shapes: train={train} (>= 1), test={test} (>= 0), size={size} (>= 16), seed={seed} (0 to 2**63 - 1), "
            f"rows_per_shard={rows_per_shard} (>= 1): a value is out of range"
        )
    wanted = {"version": VERSION, "train": train, "test": test, "size": size, "seed": seed, "rows": rows_per_shard}
    marker = out / MARKER
    if marker.exists():
        found = json.loads(marker.read_bytes())
        complete = found.pop("complete")
        if found != wanted:
            raise ValueError(f"{marker} is of another data set: it says {found}, wanted {wanted}: use another place")
        if complete:
            return
    marker.write_bytes(json.dumps({**wanted, "complete": False}).encode())
    for split, total in zip(SPLITS, (train, test), strict=True):
        shards = -(-total // rows_per_shard)
        for shard in range(shards):
            indices = range(shard * rows_per_shard, min((shard + 1) * rows_per_shard, total))
            data = write_shard(_images(indices, split=split, size=size, seed=seed), _LAYOUT, split=split)
            (out / f"{split}-{shard:05d}-of-{shards:05d}.parquet").write_bytes(data)
    marker.write_bytes(json.dumps({**wanted, "complete": True}).encode())
