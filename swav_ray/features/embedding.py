"""Images of a place to features of a frozen backbone, one block at a time: read, decode, crop, embed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from swav_ray.data.crops.center_crop import center_crop
from swav_ray.data.decoding.decode import UnreadableImage, decode
from swav_ray.data.manifest import Manifest
from swav_ray.data.sources import Sample, read_samples
from swav_ray.model.normalize import normalize
from swav_ray.weights.backbone import Backbone

FLOAT32, BF16 = "float32", "bf16"
_BATCH = 64  # images of a forward pass, at most on a CPU
_CACHED_PIXELS = 1 << 19  # of a forward pass on a CPU: with more, activations leave its cache


def crops_of(
    manifest: Manifest, ids: np.ndarray, image_size: int, threads: int
) -> tuple[np.ndarray, list[str | None], bool]:
    """Centre crops of samples, and why those that could not be read could not.

    Args:
        threads: that decode; decoders release Python's lock.

    Returns:
        (len(ids), image_size, image_size, 3) uint8, zeros for an unreadable one; a reason or None for each; and whether
        another try may read more: some file could not be read, rather than not be decoded.
    """
    crops = np.zeros((len(ids), image_size, image_size, 3), np.uint8)
    failed = threading.Event()

    def load(position: int, sample: Sample) -> str | None:
        if isinstance(sample, Exception):
            failed.set()
            return str(sample)
        try:
            crops[position] = center_crop(decode(sample, manifest.decoding), image_size)
        except UnreadableImage as error:
            return str(error)
        return None

    with ThreadPoolExecutor(threads) as pool:
        reasons = list(pool.map(load, range(len(ids)), read_samples(manifest, ids)))
    return crops, reasons, failed.is_set()


@torch.inference_mode()
def embed(backbone: Backbone, crops: np.ndarray, device: torch.device, precision: str = FLOAT32) -> np.ndarray:
    """(N, S, S, 3) uint8 crops to (N, feature_dim) float32 features.

    Args:
        precision: FLOAT32, or BF16: convolutions in bfloat16, of which features keep about two decimal digits.
    """
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == BF16):
        parts = [backbone(batch).float().cpu().numpy() for batch in batches(backbone, crops, device)]
    return np.concatenate(parts) if parts else np.empty((0, backbone.feature_dim), np.float32)


def batches(backbone: Backbone, crops: np.ndarray, device: torch.device) -> Iterator[torch.Tensor]:
    """(N, S, S, 3) uint8 crops as a backbone's input, normalised, so many at a time."""
    preprocess = backbone.preprocess
    count = batch_of(preprocess.image_size, device)
    for start in range(0, len(crops), count):
        pixels = torch.from_numpy(crops[start : start + count]).to(device)
        yield normalize(pixels, mean=preprocess.mean, std=preprocess.std)


def batch_of(image_size: int, device: torch.device) -> int:
    """Images of a forward pass."""
    return min(_BATCH, max(1, _CACHED_PIXELS // image_size**2)) if device.type == "cpu" else _BATCH
