"""The published augmentation in PIL, at given parameters: what the compiled kernels are compared with."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from swav_ray.data.crops.color_vector import COLOR_PARAMS, FACTOR, GREY, HUE, HUE_SHIFT, NO_OP, ORDER, SIGMA


def color_vector(order: tuple[int, ...] = (), **values: float) -> np.ndarray:
    """A colour vector: jitter operations in this order; brightness, contrast, saturation, hue, grey, sigma."""
    vector = np.zeros(COLOR_PARAMS, np.float32)
    vector[ORDER : ORDER + 4] = (*order, *[NO_OP] * (4 - len(order)))
    names = ("brightness", "contrast", "saturation", "hue", "grey", "sigma")
    for place, name in zip((FACTOR, FACTOR + 1, FACTOR + 2, HUE_SHIFT, GREY, SIGMA), names, strict=True):
        vector[place] = values.get(name, 1.0 if place < HUE_SHIFT else 0.0)
    return vector


def pil_cut(image: Image.Image, box: np.ndarray, size: int) -> Image.Image:
    top, left, height, width, flip = (int(value) for value in box)
    image = image.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BILINEAR)
    return ImageOps.mirror(image) if flip else image


def pil_color(image: Image.Image, color: np.ndarray) -> Image.Image:
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for operation in color[ORDER : ORDER + 4].astype(int):
        if operation == HUE:
            hue, saturation, value = image.convert("HSV").split()
            turned = np.asarray(hue) + np.uint8(color[HUE_SHIFT])
            image = Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")
        elif operation != NO_OP:
            image = enhancers[operation](image).enhance(float(color[FACTOR + operation]))
    if color[GREY]:
        image = image.convert("L").convert("RGB")
    return image.filter(ImageFilter.GaussianBlur(float(color[SIGMA]))) if color[SIGMA] else image
