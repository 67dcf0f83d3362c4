"""Multi-crop on one core: our images per second beside the PIL pipeline's, measured in turns in the same run.

    taskset -c 0 python -m benchmarks.multi_crop [--images DIR] [--rounds N] [--grey]

Prints one JSON line. Without --images it makes JPEGs from scikit-learn's two sample photos: 500 x 375 of about 66 KB
for the main figures, 4000 x 3000 for decoding of large originals, 64 x 64 for small ones. With --images the main
figures come from the JPEGs of that folder. --grey makes the photos greyscale.

The baseline is the published augmentation in PIL and torchvision, once as far as ours goes (uint8 crops) and once with
the float tensors that the published workers also make.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torchvision import transforms

from swav_ray.config import AugmentConfig, CropsConfig
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.decoding.decode import decode

SMALL = CropsConfig(sizes=(32, 16), counts=(2, 4), min_scales=(0.3, 0.1), max_scales=(1.0, 0.3))

BATCH_BYTES = 64 << 20  # of the batch that our crops are written to: more than a cache holds

Task = Callable[[bytes, int], object]


def jpeg(image: Image.Image, size: tuple[int, int], target: int | None = None) -> bytes:
    """A JPEG of this size whose bytes come closest to `target` (quality 90 without one)."""
    image = image.resize(size, Image.Resampling.LANCZOS)

    def encoded(quality: int) -> bytes:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        return stream.getvalue()

    if target is None:
        return encoded(90)
    return min((encoded(quality) for quality in range(70, 99)), key=lambda data: abs(len(data) - target))


def sample_photos(grey: bool = False) -> list[Image.Image]:
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(image).convert("L" if grey else "RGB") for image in load_sample_images().images]
    return [turned for photo in photos for turned in (photo, photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT))]


def random_blur(image: Image.Image) -> Image.Image:
    if torch.rand(1).item() >= 0.5:
        return image
    return image.filter(ImageFilter.GaussianBlur(radius=0.1 + 1.9 * torch.rand(1).item()))


def pil_pipeline(crops: CropsConfig, to_tensor: bool) -> Task:
    """The augmentation of the paper (section A.1, as SimCLR's) as torchvision transforms on PIL images."""
    color = transforms.RandomApply([transforms.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8)
    normalize = transforms.Normalize((0.485, 0.456, 0.406), (0.228, 0.224, 0.225))
    last = [transforms.ToTensor(), normalize] if to_tensor else [np.asarray]
    chains = []
    groups = zip(crops.sizes, crops.counts, crops.min_scales, crops.max_scales, strict=True)
    for size, count, low, high in groups:
        cut = transforms.RandomResizedCrop(size, scale=(low, high))
        chain = [cut, transforms.RandomHorizontalFlip(), color, transforms.RandomGrayscale(0.2), random_blur, *last]
        chains += [transforms.Compose(chain)] * count

    def run(data: bytes, _draw: int) -> object:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        return [chain(image) for chain in chains]

    return run


def our_pipeline(crops: CropsConfig, color_device: str) -> Callable[[bytes | np.ndarray, int], None]:
    """MultiCrop into the rows of a batch, one after another; the draw number is the sample_id."""
    multi_crop = MultiCrop(crops, AugmentConfig(color_device=color_device), seed=0)
    rows = BATCH_BYTES // sum(group.nbytes for group in multi_crop.buffers(1))
    out = multi_crop.buffers(rows)
    color = np.empty((crops.total, rows, multi_crop.color_params or 0), np.float32)
    turn = itertools.cycle(range(rows))
    return lambda data, draw: multi_crop(data, 0, draw, out, next(turn), color)


def milliseconds(tasks: dict[str, Task], images: list[bytes], draws: int, rounds: int) -> dict[str, float]:
    """Mean ms of CPU time per image of each task, over `draws` draws for each image, no two of them alike.

    The tasks take turns, all images and draws a turn, so that all meet the same machine and each runs as it would by
    itself. Every draw is timed once a round, and its least time counts: the draws, not what else the machine does, make
    the mean.
    """
    least = {name: np.full((len(images), draws), np.inf) for name in tasks}
    for _ in range(rounds + 1):  # one more, as the first compiles and warms up
        for name, task in tasks.items():
            for place in np.ndindex(len(images), draws):
                number = place[0] * draws + place[1]
                torch.manual_seed(number)
                start = time.process_time()
                task(images[place[0]], number)
                least[name][place] = min(least[name][place], (time.process_time() - start) * 1000)
    return {name: float(values.mean()) for name, values in least.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, help="folder of JPEGs for the main figures")
    parser.add_argument(
        "--rounds", type=int, default=3, help="times that every draw is timed, after one more (default %(default)s)"
    )
    parser.add_argument("--grey", action="store_true", help="greyscale photos")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    photos = sample_photos(arguments.grey)
    if arguments.images:
        files = sorted(path for path in arguments.images.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        images = [path.read_bytes() for path in files[:200]]
    else:
        images = [jpeg(photo, (500, 375), 66_000) for photo in photos]
    paper = CropsConfig()
    draws = max(1, 256 // len(images))
    tasks: dict[str, Task] = {
        "pil": pil_pipeline(paper, to_tensor=False),
        "pil_with_tensors": pil_pipeline(paper, to_tensor=True),
        "cpu_color": our_pipeline(paper, "cpu"),
        "device_color": our_pipeline(paper, "train"),
        "decode": lambda data, _draw: decode(data),
    }
    figures = milliseconds(tasks, images, draws, arguments.rounds)
    large = [jpeg(photo, (4000, 3000)) for photo in photos[::2]]
    crops = our_pipeline(paper, "cpu")
    large_tasks: dict[str, Task] = {
        "scaled_decode": crops,
        "full_decode": lambda data, draw: crops(decode(data), draw),
    }
    large_figures = milliseconds(large_tasks, large, 4, arguments.rounds)
    small = [jpeg(photo, (64, 64)) for photo in photos]
    small_tasks: dict[str, Task] = {
        "pil": pil_pipeline(SMALL, to_tensor=False),
        "cpu_color": our_pipeline(SMALL, "cpu"),
    }
    small_figures = milliseconds(small_tasks, small, draws, arguments.rounds)
    print(
        json.dumps(
            {
                "benchmark": "multi_crop",
                "grey": arguments.grey,
                "crops": "2x224+6x96",
                "images": len(images),
                "mean_bytes": round(statistics.fmean(len(data) for data in images)),
                "ms_per_image": rounded(figures),
                "images_per_second": {name: round(1000 / value, 1) for name, value in figures.items()},
                "ratio_cpu_color": round(figures["pil"] / figures["cpu_color"], 2),
                "ratio_device_color": round(figures["pil"] / figures["device_color"], 2),
                "ratio_cpu_color_with_tensors": round(figures["pil_with_tensors"] / figures["cpu_color"], 2),
                "ratio_device_color_with_tensors": round(figures["pil_with_tensors"] / figures["device_color"], 2),
                "large_4000x3000_ms": rounded(large_figures),
                "large_mean_bytes": round(statistics.fmean(len(data) for data in large)),
                "small_64x64_2x32+4x16_ms": rounded(small_figures),
            }
        )
    )


def rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in figures.items()}


if __name__ == "__main__":
    main()
