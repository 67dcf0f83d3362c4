"""Items for a composed set that come with scikit-learn: handwritten digits of 8 x 8 pixels, enlarged."""

from __future__ import annotations

import cv2
import numpy as np
from sklearn.datasets import load_digits


def digits(classes: int, each: int = 20) -> dict[int, np.ndarray]:
    """(each, 28, 28) uint8 by class."""
    found = load_digits()
    small = np.minimum(found.images * 16, 255).astype(np.uint8)
    large = np.stack([cv2.resize(image, (28, 28), interpolation=cv2.INTER_LINEAR) for image in small])
    return {label: large[found.target == label][:each] for label in range(classes)}
