"""kNN on the held-out images of the data that a run trains on: the backbone as it is, untrained, and raw pixels.

Each worker embeds its slice of the images, a chunk at a time, so that memory does not grow with the data set. Knows
nothing of training: what it needs of the workers is the protocol below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from swav_ray.config import EvalConfig
from swav_ray.data.crops.center_crop import center_crop
from swav_ray.data.crops.decode import UnreadableImage, decode
from swav_ray.data.holdout import evenly
from swav_ray.data.manifest import Manifest
from swav_ray.data.sources import read_samples
from swav_ray.evaluate.features.extract import extract, pixels
from swav_ray.evaluate.knn import knn_top1

_CHUNK = 512  # images decoded at a time
_THREADS = 4

T = TypeVar("T")


class Workers(Protocol):
    """The processes that embed together, as one of them sees them."""

    def own_slice(self, rows: int) -> slice:
        """The part of `rows` that this process embeds."""

    def gather_objects(self, value: T) -> list[T]:
        """Every process's value, in rank order, on each of them."""


def _images(manifest: Manifest, ids: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Chunks of readable images: their ids, and (n, size, size, 3) uint8."""

    def load(data: bytes | np.ndarray | Exception) -> np.ndarray | None:
        try:
            return None if isinstance(data, Exception) else center_crop(decode(data, manifest.decoding), size)
        except UnreadableImage:
            return None

    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            images = list(pool.map(load, read_samples(manifest, chunk)))
            readable = [image for image in images if image is not None]
            if readable:
                keep = np.array([image is not None for image in images])
                yield chunk[keep], torch.from_numpy(np.stack(readable))


def _embed(
    backbones: Mapping[str, nn.Module],
    manifest: Manifest,
    ids: np.ndarray,
    size: int,
    device: torch.device,
    world: Workers,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Labels and, by name, features (and `pixels`) of `ids`, embedded by all workers and gathered on each."""
    own = ids[world.own_slice(len(ids))]
    labels = [torch.empty(0, dtype=torch.int64)]
    features: dict[str, list[Tensor]] = {name: [] for name in (*backbones, "pixels")}
    for kept, images in _images(manifest, own, size):
        labels.append(torch.from_numpy(manifest.labels[kept].astype(np.int64)))
        features["pixels"].append(pixels(images).cpu())
        for name, backbone in backbones.items():
            features[name].append(extract(backbone, images, device=device).cpu())
    gathered = world.gather_objects((torch.cat(labels), {name: _cat(parts) for name, parts in features.items()}))
    filled = [part for part in gathered if len(part[0])] or gathered[:1]  # one without rows has no feature dimension
    return torch.cat([part[0] for part in filled]), {
        name: torch.cat([part[1][name] for part in filled]) for name in features
    }


def _cat(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if parts else torch.empty(0)


def knn(
    backbones: Mapping[str, nn.Module],
    manifest: Manifest,
    train_ids: np.ndarray,
    held_out: np.ndarray,
    config: EvalConfig,
    *,
    device: torch.device,
    world: Workers,
) -> dict[str, float]:
    """Weighted kNN top-1 in percent for each backbone by name, for `pixels`, and `chance` (the largest class).

    Neighbours are labelled training images, queries held-out ones, at most `eval.max_bank` and `eval.max_queries`.
    Unreadable images are left out. Empty without labels, and if no neighbour or no query can be read. All workers call
    it together; the result is the same on each.
    """
    bank_ids = evenly(train_ids[manifest.labels[train_ids] >= 0], config.max_bank)
    query_ids = evenly(held_out, config.max_queries)
    if not len(bank_ids) or not len(query_ids):
        return {}
    size = config.image_size
    bank_labels, bank = _embed(backbones, manifest, bank_ids, size, device, world)
    query_labels, queries = _embed(backbones, manifest, query_ids, size, device, world)
    if not len(bank_labels) or not len(query_labels):
        return {}
    k = min(config.knn_k, len(bank_labels))
    result = {
        name: 100
        * knn_top1(bank[name], bank_labels, queries[name], query_labels, k=k, temperature=config.knn_temperature)
        for name in bank
    }
    return {**result, "chance": 100 * float(query_labels.bincount().max()) / len(query_labels)}
