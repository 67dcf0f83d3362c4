"""A crop is blurred as its specification says, to the bit, and as PIL blurs it, to a level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from swav_ray.data.crops.kernels import reference
from swav_ray.data.crops.kernels.blur import blur, gaussian_taps
from tests.data.crops.kernels.pictures import FEW, PHOTO, SEEDS, SIDES, mean_difference, pixels
from tests.data.crops.pil_multi_crop import color_vector, pil_color

SIGMAS = st.floats(0.05, 4)


def blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    size = len(picture)
    return reference.picture_of(blur(reference.planes_of(picture), size, sigma), size)


@FEW
@given(size=SIDES, sigma=SIGMAS, seed=SEEDS)
@example(size=1, sigma=4.0, seed=1)
@example(size=2, sigma=2.0, seed=1)
@example(size=33, sigma=0.05, seed=1)  # a single tap
def test_a_blur_is_its_specification_to_the_bit(size: int, sigma: float, seed: int) -> None:
    picture = pixels(size, size, seed)
    assert np.array_equal(blurred(picture, sigma), reference.blur(picture, sigma))


@FEW
@given(sigma=SIGMAS)
def test_the_taps_are_their_specification_symmetric_and_a_whole(sigma: float) -> None:
    taps = gaussian_taps(sigma)
    assert np.array_equal(taps, reference.gaussian_taps(sigma))
    assert len(taps) % 2 == 1
    assert np.allclose(taps, taps[::-1], rtol=0, atol=1e-15)
    assert abs(taps.sum() - 1) < 1e-15 * len(taps)


@pytest.mark.parametrize("sigma", [1.0, 1.4, 1.7, 2.0, 3.5])
def test_the_taps_spread_as_far_as_sigma_says(sigma: float) -> None:
    """Their variance is below sigma squared by what the taps that were cut had: each is lighter than 1 / 256."""
    taps = gaussian_taps(sigma)
    distance = np.arange(len(taps)) - len(taps) // 2
    spread = float(np.sqrt((taps * distance**2).sum()))
    assert sigma * 0.95 < spread <= sigma


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5, 0.8, 1.0, 1.4, 1.7, 2.0, 3.5])
@pytest.mark.parametrize("size", [30, 96])
def test_blur_is_pils(sigma: float, size: int) -> None:
    image = PHOTO.resize((size, size))
    assert mean_difference(blurred(np.array(image), sigma), pil_color(image, color_vector(sigma=sigma))) < 1


@pytest.mark.parametrize("sigma", [0.1, 1.0, 2.0])
def test_blur_of_the_smallest_crop_is_nearly_pils(sigma: float) -> None:
    """PIL repeats the border anew for each of its three passes, which shows when a crop is all border."""
    image = PHOTO.resize((8, 8))
    assert mean_difference(blurred(np.array(image), sigma), pil_color(image, color_vector(sigma=sigma))) < 2
