"""Colour on the training device means what it means on the CPU, for the same parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from swav_ray.config import AugmentConfig, CropsConfig
from swav_ray.data.crops.color_vector import COLOR_PARAMS, NO_OP, ORDER, SIGMA
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.training.device_color import color_and_blur

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]


def made(count: int, sigma: tuple[float, float] = (0.1, 2.0)) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """(finished on the CPU, pixels and parameters for the device) for `count` images of 2 crops each."""
    pixels = np.array(Image.fromarray(load_sample_images().images[0]).resize((200, 150)))
    crops = CropsConfig(sizes=(40,), counts=(2,), min_scales=(0.2,), max_scales=(1.0,))
    on_cpu = MultiCrop(crops, AugmentConfig(blur_sigma=sigma), seed=0)
    on_device = MultiCrop(crops, AugmentConfig(blur_sigma=sigma, color_device="train"), seed=0)
    finished, plain = on_cpu.buffers(count), on_device.buffers(count)
    color = np.empty((2, count, COLOR_PARAMS), np.float32)
    for sample in range(count):
        on_cpu(pixels, 0, sample, finished, sample)
        on_device(pixels, 0, sample, plain, sample, color)
    return (
        finished[0].reshape(-1, 40, 40, 3),
        torch.from_numpy(plain[0]).flatten(0, 1),
        torch.from_numpy(color).flatten(0, 1),
    )


def both(count: int, device: str, sigma: tuple[float, float] = (0.1, 2.0)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(finished on the CPU, finished on the device, parameters) for `count` images of 2 crops each."""
    expected, batch, params = made(count, sigma)
    result = color_and_blur(batch.to(device), params.to(device), max_sigma=sigma[1])
    assert result.shape == (2 * count, 3, 40, 40)
    assert result.dtype == torch.float32
    return expected, result.permute(0, 2, 3, 1).cpu().numpy(), params.numpy()


@pytest.mark.parametrize("device", DEVICES)
def test_the_device_and_the_cpu_agree(device: str) -> None:
    expected, result, params = both(40, device)
    error = np.abs(expected - result).mean((1, 2, 3))
    sharp = error[params[:, SIGMA] == 0]
    assert np.quantile(sharp, 0.9) < 0.05
    assert sharp.max() < 0.2  # factors near 5/3 put many products so near a whole level that the cuts differ
    assert error.max() < 1


def test_a_wider_blur_is_given_its_room() -> None:
    expected, result, _ = both(10, "cpu", sigma=(3.0, 5.0))
    assert np.abs(expected - result).mean((1, 2, 3)).max() < 1


@pytest.mark.parametrize("device", DEVICES)
def test_without_operations_the_pixels_are_untouched(device: str) -> None:
    crops = torch.randint(0, 256, (3, 24, 24, 3), dtype=torch.uint8)
    params = torch.zeros(3, COLOR_PARAMS)
    params[:, ORDER : ORDER + 4] = NO_OP
    result = color_and_blur(crops.to(device), params.to(device)).cpu()
    assert torch.allclose(result, crops.permute(0, 3, 1, 2).float(), atol=1e-3)


def test_one_crops_parameters_do_not_touch_another() -> None:
    expected, result, params = both(6, "cpu")
    assert len({tuple(row) for row in params}) > 6
    order = np.random.default_rng(0).permutation(len(params))
    assert np.abs(expected[order] - result[order]).mean() < 1
