"""Multi-crop as a whole: keyed randomness, the published distribution, any image, any size."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_images
from torchvision import transforms

from swav_ray.config import AugmentConfig, CropsConfig
from swav_ray.data.crops.color_vector import COLOR_PARAMS
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.decoding.decode import UnreadableImage
from tests.data.crops.photos import PHOTOS, SMALL, crops_of, jpeg
from tests.data.crops.pil_multi_crop import pil_color


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_same_key_gives_the_same_crops_in_any_order_and_thread() -> None:
    data = jpeg(PHOTOS[0])
    first = MultiCrop(SMALL, AugmentConfig(), seed=3)
    expected = {sample: crops_of(first, data, 1, sample) for sample in range(8)}
    results: dict[int, list[np.ndarray]] = {}
    other = MultiCrop(SMALL, AugmentConfig(), seed=3)

    def work(samples: range) -> None:
        for sample in samples:
            results[sample] = crops_of(other, data, 1, sample)

    threads = [threading.Thread(target=work, args=(range(start, -1, -2),)) for start in (7, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(results[sample], expected[sample]) for sample in range(8))


def digest() -> str:
    """Of the crops of a photo: all sizes of registers, lines with and without a rest, every operation."""
    crops = CropsConfig(sizes=(224, 48, 9), counts=(2, 4, 2), min_scales=(0.1,) * 3, max_scales=(1.0,) * 3)
    multi_crop = MultiCrop(crops, AugmentConfig(), seed=5)
    photo = np.array(Image.fromarray(load_sample_images().images[0]).resize((320, 240)))
    found = hashlib.sha256()
    for sample_id in range(20):
        for group in crops_of(multi_crop, photo, 2, sample_id):
            found.update(group.tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("processor", [{}, {"NUMBA_CPU_NAME": "generic"}])
def test_another_process_on_another_processor_makes_the_same(processor: dict[str, str]) -> None:
    command = [sys.executable, "-c", "from tests.data.crops.test_multi_crop import digest; print(digest())"]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | processor)
    assert ended.stdout.strip() == digest(), ended.stderr


def test_rows_and_groups_land_where_they_belong() -> None:
    multi_crop = MultiCrop(SMALL, AugmentConfig(), seed=0)
    out = multi_crop.buffers(3)
    assert [group.shape for group in out] == [(2, 3, 32, 32, 3), (3, 3, 16, 16, 3)]
    for group in out:
        group[:] = 7
    multi_crop(jpeg(PHOTOS[1]), 0, 5, out, 1)
    assert all((group[:, [0, 2]] == 7).all() for group in out)
    assert same([group[:, 1] for group in out], crops_of(multi_crop, jpeg(PHOTOS[1]), 0, 5))


def test_geometry_and_color_do_not_depend_on_the_device() -> None:
    """What the training device is told to do is what the CPU does: PIL finishes its crops to the same picture."""
    on_cpu = MultiCrop(SMALL, AugmentConfig(), seed=0)
    on_device = MultiCrop(SMALL, AugmentConfig(color_device="train"), seed=0)
    assert on_cpu.color_params is None
    assert on_device.color_params == COLOR_PARAMS
    plain, color = on_device.buffers(1), np.empty((SMALL.total, 1, COLOR_PARAMS), np.float32)
    for sample in range(6):
        finished = [crop for group in crops_of(on_cpu, jpeg(PHOTOS[0]), 0, sample) for crop in group]
        on_device(jpeg(PHOTOS[0]), 0, sample, plain, 0, color)
        cut = [crop for group in plain for crop in group[:, 0]]
        for ours, geometry, parameters in zip(finished, cut, color[:, 0], strict=True):
            expected = np.asarray(pil_color(Image.fromarray(geometry), parameters)).astype(int)
            assert np.abs(ours - expected).mean() < 2


def statistics(crops: np.ndarray) -> np.ndarray:
    """(7,) of a stack of crops (N, S, S, 3): channel means, channel spreads, saturation and gradient energy."""
    image = crops.astype(np.float64)
    saturation = (image.max(3) - image.min(3)).mean()
    gradient = np.abs(np.diff(image, axis=1)).mean() + np.abs(np.diff(image, axis=2)).mean()
    return np.array([*image.mean((0, 1, 2)), *image.std((0, 1, 2)), saturation, gradient])


def test_the_whole_has_the_distribution_of_the_pil_pipeline() -> None:
    torch.manual_seed(0)
    color = transforms.RandomApply([transforms.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8)

    def random_blur(image: Image.Image) -> Image.Image:
        radius = 0.1 + 1.9 * torch.rand(1).item()
        return image.filter(ImageFilter.GaussianBlur(radius)) if torch.rand(1).item() < 0.5 else image

    pipeline = transforms.Compose(
        [
            transforms.RandomResizedCrop(48, scale=(0.14, 1.0)),
            transforms.RandomHorizontalFlip(),
            color,
            transforms.RandomGrayscale(0.2),
            random_blur,
        ]
    )
    crops = CropsConfig(sizes=(48,), counts=(4,), min_scales=(0.14,), max_scales=(1.0,))
    multi_crop = MultiCrop(crops, AugmentConfig(), seed=0)
    for photo in PHOTOS:
        theirs = np.stack([np.asarray(pipeline(photo)) for _ in range(1600)])
        pixels = np.array(photo)
        ours = np.concatenate([crops_of(multi_crop, pixels, 0, sample)[0] for sample in range(400)])
        assert np.abs(statistics(ours) / statistics(theirs) - 1).max() < 0.05


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (20_000, 30), (30, 3000), (2, 500)])
def test_images_of_any_shape_give_crops(size: tuple[int, int]) -> None:
    image = PHOTOS[0].resize(size)
    for data in (np.array(image), jpeg(image), np.array(image.convert("L"))):
        means = [group.mean() for group in crops_of(MultiCrop(SMALL, AugmentConfig(), seed=0), data)]
        assert all(0 <= mean <= 255 for mean in means)


def test_unreadable_images_leave_the_row_alone() -> None:
    multi_crop = MultiCrop(SMALL, AugmentConfig(), seed=0)
    out = multi_crop.buffers(1)
    for group in out:
        group[:] = 9
    for data in (b"", b"no image", jpeg(PHOTOS[0])[:3000]):
        with pytest.raises(UnreadableImage):
            multi_crop(data, 0, 0, out, 0)
    assert all((group == 9).all() for group in out)


def test_read_only_pixels_are_fine() -> None:
    pixels = np.array(PHOTOS[0])
    pixels.flags.writeable = False
    multi_crop = MultiCrop(SMALL, AugmentConfig(), seed=0)
    assert same(crops_of(multi_crop, pixels), crops_of(multi_crop, pixels.copy()))


def test_nothing_here_imports_ray_or_torch() -> None:
    program = "import sys, swav_ray.data.crops.multi_crop; print('ray' in sys.modules, 'torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": ""}
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert printed.stdout.split() == ["False", "False"]
