"""Pictures that the kernels' tests share: a photo, and small ones of any size made of what is hard for arithmetic."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

PHOTO = Image.fromarray(load_sample_images().images[1]).resize((500, 375))
FEW = settings(max_examples=25)


def mean_difference(a: object, b: object) -> float:
    """In levels."""
    return float(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).mean())


def pixels(height: int, width: int, seed: int) -> np.ndarray:
    """(height, width, 3) uint8: noise, noise of 0 and 255 alone, noise near them, or one level, by the seed."""
    generator = np.random.default_rng(seed)
    shape, kind = (height, width, 3), seed % 4
    if kind == 0:
        return generator.integers(0, 256, shape, np.uint8)
    if kind == 1:
        return generator.choice(np.array([0, 255], np.uint8), shape)
    if kind == 2:
        return generator.choice(np.array([0, 1, 127, 128, 254, 255], np.uint8), shape)
    return np.full(shape, generator.choice([0, 255]), np.uint8)


SEEDS = st.integers(0, 2**16)
SIDES = st.integers(1, 70)  # below, at and between tiles of 16 and registers of 32 and 64
