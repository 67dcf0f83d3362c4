"""Two photos, small settings of crops, and the crops of one image: what the tests of crops share."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from swav_ray.config import CropsConfig
from swav_ray.data.crops.multi_crop import MultiCrop

SMALL = CropsConfig(sizes=(32, 16), counts=(2, 3), min_scales=(0.3, 0.1), max_scales=(1.0, 0.3))
PHOTOS = [Image.fromarray(image).resize((320, 240)) for image in load_sample_images().images]


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def crops_of(multi_crop: MultiCrop, data: bytes | np.ndarray, epoch: int = 0, sample_id: int = 0) -> list[np.ndarray]:
    out = multi_crop.buffers(1)
    multi_crop(data, epoch, sample_id, out, 0)
    return [group[:, 0] for group in out]
