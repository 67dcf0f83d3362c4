"""Damages image files of every format at random, and compares what is read with what PIL and OpenCV read.

No damaged image that PIL refuses may be accepted without a count, nothing but UnreadableImage may come out, and memory
stays within what the pixel limit allows.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import time
from collections import Counter
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image

from swav_ray.data.decoding.choices import Decoding
from swav_ray.data.decoding.decode import SourceImage, UnreadableImage

LIMIT = 4_000_000  # pixels
DECODING = Decoding(max_pixels=LIMIT, value_range=(0, 50_000))  # of all that have more than 8 bits
_SIDE = (61, 47)


def photo() -> Image.Image:
    """A smooth picture with some noise, so that no format has nothing to do."""
    y, x = np.mgrid[0 : _SIDE[1], 0 : _SIDE[0]]
    noise = np.random.default_rng(0).normal(0, 6, (*_SIDE[::-1], 3))
    channels = np.stack((255 * x / _SIDE[0], 255 * y / _SIDE[1], 127 + 120 * np.sin((x + 2 * y) / 9)), 2)
    return Image.fromarray(np.clip(channels + noise, 0, 255).astype(np.uint8))


def formats() -> dict[str, bytes]:
    """An undamaged file of each format."""
    image, grey = photo(), photo().convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 200)
    made = {
        "JPEG": (image, {"format": "JPEG", "quality": 85}),
        "JPEG, progressive": (image, {"format": "JPEG", "progressive": True}),
        "JPEG, grey": (grey, {"format": "JPEG"}),
        "JPEG, CMYK": (image.convert("CMYK"), {"format": "JPEG"}),
        "PNG": (image, {"format": "PNG"}),
        "PNG, palette": (image.quantize(64), {"format": "PNG"}),
        "PNG, 16 bits": (deep, {"format": "PNG"}),
        "PNG, alpha": (image.convert("RGBA"), {"format": "PNG"}),
        "GIF": (image.quantize(64), {"format": "GIF"}),
        "WebP": (image, {"format": "WEBP"}),
        "WebP, lossless": (image, {"format": "WEBP", "lossless": True}),
        "AVIF": (image, {"format": "AVIF"}),
        "JPEG 2000": (image, {"format": "JPEG2000"}),
        "TIFF": (image, {"format": "TIFF"}),
        "TIFF, LZW": (image, {"format": "TIFF", "compression": "tiff_lzw"}),
        "TIFF, 16 bits": (deep, {"format": "TIFF"}),
        "BMP": (image, {"format": "BMP"}),
        "PPM": (image, {"format": "PPM"}),
    }
    files = {}
    for name, (picture, options) in made.items():
        sink = io.BytesIO()
        picture.save(sink, **options)
        files[name] = sink.getvalue()
    colors = np.asarray(image)[..., ::-1].astype(np.uint16) * 200
    for name, suffix in {"PNG, colours of 16 bits": ".png", "TIFF, colours of 16 bits": ".tif"}.items():
        files[name] = cv2.imencode(suffix, colors)[1].tobytes()
    return files


def damaged(data: bytes, generator: np.random.Generator) -> bytes:
    """One or several bytes changed, an end cut off, a piece zeroed, two pieces exchanged, or a piece twice."""
    out = bytearray(data)
    kind = generator.integers(0, 6)
    if kind <= 1:
        for place in generator.integers(0, len(out), 1 if kind == 0 else int(generator.integers(2, 9))):
            out[place] = generator.integers(0, 256)
        return bytes(out)
    if kind == 2:
        return bytes(out[: generator.integers(0, len(out))])
    first, second, third = sorted(generator.integers(0, len(out) + 1, 3).tolist())
    if kind == 3:
        out[first:second] = bytes(second - first)
    elif kind == 4:
        out[first:third] = out[second:third] + out[first:second]
    else:
        out[second:second] = out[first:second]
    return bytes(out)


def reads_pil(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.size[0] * image.size[1] > LIMIT:
                return False
            image.load()
    except Exception:  # every reader fails in its own way
        return False
    return True


def reads_cv2(data: bytes) -> bool:
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)  # its libraries write there what they think of a file
    try:
        return bool(data) and cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) is not None
    except cv2.error:
        return False
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def ours(data: bytes) -> str:
    """accepted, a flaw that is counted, the kind of UnreadableImage, or the name of what must not come out."""
    try:
        source = SourceImage(data, DECODING)
        pixels = source.pixels()
    except UnreadableImage as error:
        return f"refused: {error.kind}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        return f"wrong pixels: {pixels.dtype} {pixels.shape}"
    return f"counted: {source.flaw}" if source.flaw else "accepted"


def mutations_of(data: bytes, count: int, seed: list[int]) -> Iterator[bytes]:
    """The same ones for each seed."""
    generator = np.random.default_rng(seed)
    return (damaged(data, generator) for _ in range(count))


def fuzz(mutations: int, seed: int) -> tuple[dict[str, Counter[str]], int]:
    """Counts by format, and the memory in MB that reading took at most."""
    files = formats()
    each = -(-mutations // len(files))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # First, since PIL and OpenCV have no limit on the memory that a broken header may ask for.
    verdicts = {
        name: [ours(broken) for broken in mutations_of(data, each, [seed, index])]
        for index, (name, data) in enumerate(files.items())
    }
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    found = {}
    for index, (name, data) in enumerate(files.items()):
        counts: Counter[str] = Counter()
        for verdict, broken in zip(verdicts[name], mutations_of(data, each, [seed, index]), strict=True):
            pil, accepted = reads_pil(broken), verdict == "accepted"
            counts["mutations"] += 1
            counts["PIL refuses"] += not pil
            counts["OpenCV refuses"] += not reads_cv2(broken)
            counts["refused"] += verdict.startswith("refused")
            counts["counted"] += verdict.startswith("counted")
            counts["accepted though PIL refuses"] += accepted and not pil
            counts["refused though PIL reads"] += pil and verdict.startswith("refused")
            if not accepted and not verdict.startswith(("refused", "counted")):
                counts["anything else"] += 1
                counts[f"! {verdict[:100]}"] += 1
        found[name] = counts
    return found, grown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.perf_counter()
    found, grown = fuzz(options.mutations, options.seed)
    columns = [
        "mutations",
        "PIL refuses",
        "OpenCV refuses",
        "refused",
        "counted",
        "accepted though PIL refuses",
        "refused though PIL reads",
        "anything else",
    ]
    print("| format | " + " | ".join(columns) + " |")
    print("|---|" + "---|" * len(columns))
    for name, counts in found.items():
        print(f"| {name} | " + " | ".join(f"{counts[column]:,}" for column in columns) + " |")
        for key, count in counts.items():
            if key.startswith("!"):
                print(f"{key}: {count}")
    total = sum(found.values(), Counter())
    print(
        json.dumps(
            {column: total[column] for column in columns}
            | {"seconds": round(time.perf_counter() - began, 1)}
            | {"memory_grew_mb": grown, "limit_mb": LIMIT * 3 >> 20}
        )
    )


if __name__ == "__main__":
    main()
