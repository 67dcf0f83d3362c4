"""The crop that evaluation sees: ImageNet's margin, small images whole, and any shape within bounded memory."""

import cv2
import numpy as np
import pytest

from swav_ray.data.crops.center_crop import center_crop


def frames(height: int, width: int, margin_y: float, margin_x: float) -> np.ndarray:
    """White, with a black frame of the given thickness."""
    image = np.full((height, width, 3), 255, np.uint8)
    y, x = round(margin_y), round(margin_x)
    image[:y] = image[height - y :] = image[:, :x] = image[:, width - x :] = 0
    return image


@pytest.mark.parametrize(("height", "width"), [(256, 256), (512, 700), (375, 500), (500, 333)])
def test_imagenet_crop_cuts_the_margin_of_256_over_224(height, width):
    side = min(height, width)
    margin_y, margin_x = ((length - side * 224 / 256) / 2 for length in (height, width))
    crop = center_crop(frames(height, width, margin_y - 3, margin_x - 3), 224)
    assert crop.shape == (224, 224, 3)
    assert crop.min() == 255
    assert center_crop(frames(height, width, margin_y + 6, margin_x + 6), 224)[:, 0].max() == 0


def test_a_small_image_is_embedded_whole():
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    assert np.array_equal(center_crop(image, 48), image)
    halves = center_crop(image, 24).astype(float)
    assert np.abs(halves - image.reshape(24, 2, 24, 2, 3).mean((1, 3))).max() <= 1  # averaged, not picked


def test_a_long_small_image_keeps_its_middle_and_a_tiny_one_grows():
    long = np.zeros((32, 96, 3), np.uint8)
    long[:, 32:64] = 200
    assert (center_crop(long, 32) == 200).all()
    assert center_crop(np.full((7, 5, 3), 9, np.uint8), 32).tolist() == np.full((32, 32, 3), 9).tolist()


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("shape", [(40, 1001), (1000, 41), (1, 300), (301, 7)])
def test_a_very_long_image_gives_the_crop_of_the_whole(monkeypatch, shape, size):
    y, x = np.indices(shape) / max(shape)
    image = np.stack([255 * y, 255 * x, 127 * (y + x)], axis=-1).astype(np.uint8)
    found = center_crop(image, size)
    monkeypatch.setattr("swav_ray.data.crops.center_crop._LONGEST", 10_000)
    assert np.abs(found.astype(int) - center_crop(image, size)).max() <= 2


def test_a_line_of_pixels_is_not_scaled_whole(monkeypatch):
    made = []

    def resize(image, size, **options):
        made.append(size)
        return cv2_resize(image, size, **options)

    cv2_resize = cv2.resize
    monkeypatch.setattr(cv2, "resize", resize)
    assert (center_crop(np.full((20_000, 1, 3), 9, np.uint8), 224) == 9).all()
    assert (center_crop(np.full((400, 3000, 3), 9, np.uint8), 224) == 9).all()
    assert made == [(256, 8 * 256), (1920, 256)]  # the second as ever: it is not that long


def test_crop_owns_its_memory():
    image = np.zeros((48, 48, 3), np.uint8)
    assert center_crop(image, 48).base is None


@pytest.mark.parametrize("bad", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)])
def test_crop_of_something_else_is_refused(bad):
    with pytest.raises(ValueError, match="needs \\(H, W, 3\\) uint8"):
        center_crop(bad, 8)
