"""Multi-crop (paper section 3.3): one image's bytes to its crops, the same for the same (seed, epoch, sample_id)."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from swav_ray.config import AugmentConfig, CropsConfig
from swav_ray.data.decode import SourceImage
from swav_ray.data.random_params import COLOR_PARAMS, FACTOR, GREY, HUE, HUE_SHIFT, ORDER, SIGMA, draw_crops


class MultiCrop:
    """Cuts, flips, colours and blurs the crops of one image.

    Crops are counted over the groups in order, so crop 0 is the first global crop. `color_params` is the length of a
    colour vector (random_params.py says what is in it) where `augment.color_device` is "train", else None.
    """

    def __init__(self, crops: CropsConfig, augment: AugmentConfig, seed: int) -> None:
        self.crops = crops
        self.augment = augment
        self.seed = seed
        self.color_params = COLOR_PARAMS if augment.color_device == "train" else None
        ranges = zip(crops.min_scales, crops.max_scales, crops.counts, strict=True)
        self._scales = np.array([(low, high) for low, high, count in ranges for _ in range(count)], np.float64)
        strength = augment.jitter_strength
        self._strengths = np.array(
            [
                augment.jitter_probability,
                0.8 * strength,
                0.2 * strength,
                augment.greyscale_probability,
                augment.blur_probability,
                *augment.blur_sigma,
            ]
        )

    def buffers(self, rows: int) -> list[np.ndarray]:
        """Empty crops of `rows` samples: for each group (count, rows, size, size, 3) uint8, crop-major."""
        groups = zip(self.crops.counts, self.crops.sizes, strict=True)
        return [np.empty((count, rows, size, size, 3), np.uint8) for count, size in groups]

    def __call__(
        self,
        data: bytes | np.ndarray,
        epoch: int,
        sample_id: int,
        out: list[np.ndarray],
        row: int,
        color: np.ndarray | None = None,
    ) -> None:
        """Write the crops of one image into row `row` of `out` (see `buffers`).

        With colour on the training device the crops are cut and flipped only, and their colour vectors go to
        `color` (total crops, rows, color_params) float32. Raises UnreadableImage.
        """
        source = SourceImage(data)
        total = self.crops.total
        boxes, colors = np.empty((total, 5), np.int64), np.empty((total, COLOR_PARAMS), np.float32)
        identity = (self.seed, epoch, sample_id)
        draw_crops(
            identity,
            source.height,
            source.width,
            self._scales,
            self.augment.flip_probability,
            self._strengths,
            boxes,
            colors,
        )
        pixels = Image.fromarray(source.pixels())
        crop = 0
        for group in out:
            for member in group:
                image = cut(pixels, boxes[crop], member.shape[1])
                if self.color_params is None:
                    image = colored(image, colors[crop])
                member[row] = np.asarray(image)
                crop += 1
        if self.color_params is not None and color is not None:
            color[:, row] = colors


def cut(image: Image.Image, box: np.ndarray, size: int) -> Image.Image:
    top, left, height, width, flip = (int(value) for value in box)
    image = image.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BILINEAR)
    return ImageOps.mirror(image) if flip else image


def colored(image: Image.Image, color: np.ndarray) -> Image.Image:
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for operation in color[ORDER : ORDER + 4].astype(int):
        if operation == HUE:
            hue, saturation, value = image.convert("HSV").split()
            turned = np.asarray(hue) + np.uint8(color[HUE_SHIFT])
            image = Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")
        elif operation >= 0:
            image = enhancers[operation](image).enhance(float(color[FACTOR + operation]))
    if color[GREY]:
        image = image.convert("L").convert("RGB")
    return image.filter(ImageFilter.GaussianBlur(float(color[SIGMA]))) if color[SIGMA] else image
