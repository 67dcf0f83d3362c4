"""Frozen features: what is cropped, how it is normalised, and that the backbone is left as it was."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from swav_ray.evaluate.features import center_crop, extract, pixels
from swav_ray.model.normalize import MEAN, STD, normalize


def random_images(count: int, side: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


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
    image = random_images(1, 48)[0].numpy()
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
    monkeypatch.setattr("swav_ray.evaluate.features._LONGEST", 10_000)
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


def test_normalisation_is_the_published_codes():
    assert (MEAN, STD) == ((0.485, 0.456, 0.406), (0.228, 0.224, 0.225))
    images = random_images(3)
    expected = (images.permute(0, 3, 1, 2).double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(
        3, 1, 1
    )
    for given in (images, images.permute(0, 3, 1, 2).float()):
        before = given.clone()
        output = normalize(given)
        assert output.dtype == torch.float32
        torch.testing.assert_close(output.double(), expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(given, before)


@pytest.mark.parametrize("bad", [torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 8, 8, 3), torch.zeros(8)])
def test_normalisation_of_another_layout_is_refused(bad):
    with pytest.raises(ValueError, match="needs \\(N, H, W, 3\\) uint8 or \\(N, 3, H, W\\) float"):
        normalize(bad)


def small_backbone() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_features_are_the_same_in_any_batches_and_leave_the_backbone_alone():
    backbone, images = small_backbone(), random_images(23)
    backbone[1].eval()  # a frozen BatchNorm in a network that trains
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    features = extract(backbone, images, batch=5)
    assert features.shape == (23, 6)
    torch.testing.assert_close(features, extract(backbone, images, batch=100))
    assert [module.training for module in backbone.modules()] == [True, True, False, True, True, True]
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())


def test_features_can_train_a_probe():
    features = extract(small_backbone(), random_images(4))
    probe = nn.Linear(6, 2)
    probe(features).sum().backward()
    assert probe.weight.grad is not None


def test_modes_come_back_after_a_failure():
    backbone = nn.Sequential(nn.Conv2d(3, 6, 3))  # no pooling: (B, C, H, W)
    with pytest.raises(ValueError, match="needs \\(images, features\\)"):
        extract(backbone, random_images(2))
    assert all(module.training for module in backbone.modules())
    with pytest.raises(ValueError, match="no images"):
        extract(backbone, random_images(0))


def test_pixels_are_the_downscaled_image():
    features = pixels(random_images(3, 32), side=8)
    assert features.shape == (3, 3 * 8 * 8)
    torch.testing.assert_close(pixels(random_images(2, 8), side=8), normalize(random_images(2, 8)).flatten(1))
