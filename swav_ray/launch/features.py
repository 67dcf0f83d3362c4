"""Features of a place by Ray Data: a task a part on every CPU, or crops on CPUs and the network on every GPU.

A task writes its part itself, so nothing large comes back to the driver, and what is written stays written when nodes
or the whole job go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import ray
import ray.data
import torch

from swav_ray.data.manifest import Manifest
from swav_ray.data.sample_plan import digest
from swav_ray.evaluate.features.labelled import Labelled
from swav_ray.evaluate.features.splits import Split
from swav_ray.evaluate.features.store import FeaturesOf, FeatureStore
from swav_ray.features.embedding import FLOAT32, crops_of, embed
from swav_ray.one_line import one_line
from swav_ray.storage.place import Place
from swav_ray.weights.backbone import Backbone

_DECODE_THREADS = 2  # of a task, so that reading and decoding overlap


def labelled(
    backbone: Backbone,
    splits: Sequence[Split],
    folder: Place,
    progress: Callable[[int, int], None],
    precision: str = FLOAT32,
) -> list[Labelled]:
    """The splits with their features, those of one place extracted together, unless they are there already.

    Args:
        backbone: on the CPU.
        folder: of all features of this backbone.
        progress: is told how many images are done, and of how many.
        precision: of the network, as of `embedding.embed`.

    Raises:
        EvaluationError: the folder holds something else. StorageUnavailable, OSError: images cannot be read.
    """
    ids_of: dict[str, np.ndarray] = {}
    for split in splits:
        ids_of[split.manifest.root] = np.union1d(ids_of.get(split.manifest.root, split.ids), split.ids)
    stores = {}
    for split in splits:
        root = split.manifest.root
        if root not in stores:
            stores[root] = _store(backbone, split.manifest, ids_of[root], folder, precision)
            extract(backbone, split.manifest, stores[root], progress)
    return [_with_features(split, stores[split.manifest.root]) for split in splits]


def _store(backbone: Backbone, manifest: Manifest, ids: np.ndarray, folder: Place, precision: str) -> FeatureStore:
    preprocess = backbone.preprocess
    of = FeaturesOf(
        weights=backbone.origin.sha256,
        layer="pooled",
        image_size=preprocess.image_size,
        mean=preprocess.mean,
        std=preprocess.std,
        root=manifest.root,
        fingerprint=manifest.fingerprint,
        samples=digest(ids),
        feature_dim=backbone.feature_dim,
        precision=precision,
        decoding=asdict(manifest.decoding),
    )
    return FeatureStore(folder, of, ids)


def _with_features(split: Split, store: FeatureStore) -> Labelled:
    features, positions, unreadable = store.read(split.ids)
    return Labelled(
        ids=split.ids[positions],
        features=features,
        labels=split.labels[positions],
        classes=split.classes,
        place=split.manifest.root,
        unreadable=[f"{split.manifest.uri_of(sample)}: {why}" for sample, why in unreadable.items()],
        targets=None if split.targets is None else split.targets[positions],
    )


def extract(backbone: Backbone, manifest: Manifest, store: FeatureStore, progress: Callable[[int, int], None]) -> None:
    """Writes the parts of a store that are not there yet.

    Args:
        backbone: on the CPU.
        manifest: of the place.
        progress: is told how many images are done, and of how many.

    Raises:
        OSError: storage is unavailable, or a part cannot be written. What is written stays.
    """
    parts = store.missing()
    total = sum(len(store.ids(part)) for part in parts)
    if not parts:
        return
    shared = {"manifest": ray.put(manifest), "backbone": ray.put(backbone), "store": store}
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # our own progress says what matters
    ray.data.DataContext.get_current().enable_progress_bars = False
    work: Any = ray.data.from_items([{"part": part} for part in parts], override_num_blocks=len(parts))
    if gpus := int(ray.cluster_resources().get("GPU", 0)):
        work = work.map(_crop, fn_kwargs=shared, num_cpus=1).map(
            _Embed, fn_constructor_kwargs=shared, num_gpus=1, concurrency=(1, gpus)
        )
    else:
        work = work.map(_crop_and_embed, fn_kwargs=shared, num_cpus=1)
    done = 0
    for row in work.iter_rows():
        if row["failure"]:
            raise OSError(row["failure"])
        done += row["images"]
        progress(done, total)


def _crop(row: dict[str, Any], *, manifest: Any, backbone: Any, store: FeatureStore) -> dict[str, Any]:
    """The crops of a part. A failure is a row like any other: an exception would reach the driver as a traceback."""
    ids = store.ids(row["part"])
    network: Backbone = ray.get(backbone)
    size = network.preprocess.image_size
    try:
        crops, reasons, again = crops_of(ray.get(manifest), ids, size, _DECODE_THREADS)
    except OSError as error:
        none = np.empty((0, size, size, 3), np.uint8)
        return {"part": row["part"], "crops": none, "reasons": [], "again": False, "failure": one_line(error)}
    return {"part": row["part"], "crops": crops, "reasons": reasons, "again": again, "failure": ""}


class _Embed:
    """The network on a GPU, for one part after another."""

    def __init__(self, *, manifest: Any, backbone: Any, store: FeatureStore) -> None:  # noqa: ARG002
        self._backbone: Backbone = ray.get(backbone).to("cuda", memory_format=torch.channels_last)
        self._store = store

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return _write(self._store, row, self._backbone, torch.device("cuda"))


def _crop_and_embed(row: dict[str, Any], *, manifest: Any, backbone: Any, store: FeatureStore) -> dict[str, Any]:
    torch.set_num_threads(1)  # the CPU that the task has; and the same sums on any machine of a kind
    network: Backbone = ray.get(backbone).to(memory_format=torch.channels_last)
    row = _crop(row, manifest=manifest, backbone=backbone, store=store)
    return _write(store, row, network, torch.device("cpu"))


def _write(store: FeatureStore, row: dict[str, Any], network: Backbone, device: torch.device) -> dict[str, Any]:
    reasons, failure = list(row["reasons"]), row["failure"]
    if not failure:
        try:
            features = embed(network, row["crops"], device, store.of.precision)
            store.write(row["part"], features, reasons, again=bool(row["again"]))
        except OSError as error:
            failure = one_line(error)
    return {"part": row["part"], "images": len(reasons), "failure": failure}
