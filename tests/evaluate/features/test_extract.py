"""Frozen features: how an image it is normalised, and that the backbone is left as it was."""

import pytest
import torch
from torch import nn

from swav_ray.evaluate.features.extract import extract, pixels
from swav_ray.model.normalize import MEAN, STD, normalize


def random_images(count: int, side: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


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
