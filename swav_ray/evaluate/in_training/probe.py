"""kNN on the held-out images of the data that a run trains on: the backbone as it is, untrained, and raw pixels.

Each worker embeds its slice of the images, a chunk at a time, so that memory does not grow with the data set. Knows
nothing of training: what it needs of the workers is the protocol below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from swav_ray.config import EvalConfig
from swav_ray.data.bad_images import BadImage
from swav_ray.data.contents import content_of
from swav_ray.data.crops.center_crop import center_crop
from swav_ray.data.decoding.decode import UnreadableImage, decode
from swav_ray.data.holdout import labelled
from swav_ray.data.manifest import Manifest
from swav_ray.data.order.selected_ids import Ids
from swav_ray.data.sources import Sample, name_of, read_samples
from swav_ray.evaluate.features.extract import extract, pixels
from swav_ray.evaluate.knn import knn_top1

_CHUNK = 512  # images decoded at a time
THREADS = 4  # that decode

T = TypeVar("T")


class Workers(Protocol):
    """The processes that embed together, as one of them sees them."""

    def own_slice(self, rows: int) -> slice:
        """The part of `rows` that this process embeds."""

    def gather_objects(self, value: T) -> list[T]:
        """Every process's value, in rank order, on each of them."""


@dataclass(frozen=True, kw_only=True)
class Knn:
    """What kNN found.

    Attributes:
        top1: percent, by name; empty if there was nothing to measure.
        queries: held-out images that were to be classified.
        unreadable: those of them that cannot be read.
        twins: those that are left out since an image among the possible neighbours is byte-identical.
    """

    top1: Mapping[str, float]
    queries: int = 0
    unreadable: tuple[BadImage, ...] = ()
    twins: int = 0

    @property
    def classified(self) -> int:
        """Held-out images that the figures are of; 0 if there are none."""
        return self.queries - len(self.unreadable) - self.twins if self.top1 else 0

    def why_none(self) -> str:
        """Why there is no figure although images are held out; empty if there is one, or none is held out."""
        if self.top1 or not self.queries:
            return ""
        if self.unreadable:
            bad, rest = self.unreadable[0], self.queries - len(self.unreadable)
            readable = f"{rest:,} of {self.queries:,}" if rest else f"none of {self.queries:,}"
            twins = f", and {self.twins:,} are copies of training images" if self.twins else ""
            return f"{readable} held-out images can be read{twins}; for example {bad.uri}: {bad.reason}"
        if self.twins:
            return f"all {self.queries:,} held-out images are copies of training images"
        return "no training image that has a label can be read"


class _Crops(NamedTuple):
    """A chunk of readable images: their ids, contents, (n, size, size, 3) uint8; and those that are not readable."""

    ids: np.ndarray
    contents: np.ndarray
    pixels: Tensor
    unreadable: list[BadImage]


class _Embedded(NamedTuple):
    """Of readable images: labels, contents, and by name features (and `pixels`); and those that are not readable."""

    labels: Tensor
    contents: np.ndarray
    features: dict[str, Tensor]
    unreadable: list[BadImage]

    def without(self, left_out: np.ndarray) -> _Embedded:
        """The same without some of the readable ones."""
        keep = torch.from_numpy(~left_out)
        features = {name: values[keep] for name, values in self.features.items()}
        return _Embedded(self.labels[keep], self.contents[~left_out], features, self.unreadable)


def _crops(manifest: Manifest, ids: np.ndarray, size: int, threads: int) -> Iterator[_Crops]:
    def load(sample_id: int, data: Sample) -> tuple[int, np.ndarray] | BadImage:
        try:
            if isinstance(data, Exception):
                raise UnreadableImage("missing", str(data))
            return content_of(data), center_crop(decode(data, manifest.decoding), size)
        except UnreadableImage as error:
            return BadImage(sample_id, name_of(manifest, sample_id), error.kind, str(error))

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            loaded = list(pool.map(load, chunk.tolist(), read_samples(manifest, chunk)))
            readable = [found for found in loaded if not isinstance(found, BadImage)]
            pixels = np.array([crop for _, crop in readable], np.uint8).reshape(-1, size, size, 3)
            yield _Crops(
                ids=chunk[[not isinstance(found, BadImage) for found in loaded]],
                contents=np.array([content for content, _ in readable], np.uint64),
                pixels=torch.from_numpy(pixels),
                unreadable=[found for found in loaded if isinstance(found, BadImage)],
            )


def _embed(
    backbones: Mapping[str, nn.Module],
    manifest: Manifest,
    ids: np.ndarray,
    size: int,
    device: torch.device,
    world: Workers,
    threads: int,
) -> _Embedded:
    """Images of these ids, embedded by all workers and gathered on each."""
    own = ids[world.own_slice(len(ids))]
    labels, contents = [torch.empty(0, dtype=torch.int64)], [np.empty(0, np.uint64)]
    features: dict[str, list[Tensor]] = {name: [] for name in (*backbones, "pixels")}
    unreadable: list[BadImage] = []
    for crops in _crops(manifest, own, size, threads):
        unreadable += crops.unreadable
        if not len(crops.ids):
            continue
        labels.append(torch.from_numpy(manifest.labels_of(crops.ids).astype(np.int64)))
        contents.append(crops.contents)
        features["pixels"].append(pixels(crops.pixels).cpu())
        for name, backbone in backbones.items():
            features[name].append(extract(backbone, crops.pixels, device=device).cpu())
    mine = _Embedded(torch.cat(labels), np.concatenate(contents), {n: _cat(p) for n, p in features.items()}, unreadable)
    gathered = world.gather_objects(mine)
    filled = [part for part in gathered if len(part.labels)] or gathered[:1]  # one without rows has no dimension
    return _Embedded(
        torch.cat([part.labels for part in filled]),
        np.concatenate([part.contents for part in filled]),
        {name: torch.cat([part.features[name] for part in filled]) for name in features},
        [bad for part in gathered for bad in part.unreadable],
    )


def _cat(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if parts else torch.empty(0)


def knn(
    backbones: Mapping[str, nn.Module],
    manifest: Manifest,
    train_ids: Ids,
    held_out: Ids,
    config: EvalConfig,
    *,
    device: torch.device,
    world: Workers,
    threads: int = THREADS,
) -> Knn:
    """Weighted kNN top-1 in percent for each backbone by name, for `pixels`, and `chance` (the largest class).

    Neighbours are labelled training images, queries held-out ones, at most `eval.max_bank` and `eval.max_queries`.
    Unreadable images are left out, and held-out ones that are byte-identical to a neighbour, unless the manifest is of
    an earlier version, whose runs counted them. All workers call it together; the result is the same on each.
    """
    bank_ids = labelled(manifest, train_ids, config.max_bank)
    query_ids = labelled(manifest, held_out, config.max_queries)
    if not len(bank_ids) or not len(query_ids):
        return Knn(top1={})
    bank, queries = (
        _embed(backbones, manifest, ids, config.image_size, device, world, threads) for ids in (bank_ids, query_ids)
    )
    twins = np.isin(queries.contents, bank.contents) & manifest.has_contents
    if twins.any():
        queries = queries.without(twins)
    return Knn(
        top1=_top1(bank, queries, config) if len(bank.labels) and len(queries.labels) else {},
        queries=len(query_ids),
        unreadable=tuple(queries.unreadable),
        twins=int(twins.sum()),
    )


def _top1(bank: _Embedded, queries: _Embedded, config: EvalConfig) -> dict[str, float]:
    k, temperature = min(config.knn_k, len(bank.labels)), config.knn_temperature
    result = {
        name: 100 * knn_top1(values, bank.labels, queries.features[name], queries.labels, k=k, temperature=temperature)
        for name, values in bank.features.items()
    }
    return {**result, "chance": 100 * float(queries.labels.bincount().max()) / len(queries.labels)}
