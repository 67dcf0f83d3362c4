"""Features of the splits of an evaluation: those that are missing are made by Ray, as `parts` does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from swav_ray.data.manifest import Manifest
from swav_ray.data.sample_plan import digest
from swav_ray.evaluate.features.labelled import Labelled
from swav_ray.evaluate.features.splits import Split
from swav_ray.evaluate.features.store import FeaturesOf, FeatureStore
from swav_ray.evaluate.features.work import ExtractPart
from swav_ray.features.embedding import FLOAT32
from swav_ray.launch.parts import make
from swav_ray.storage.place import Place
from swav_ray.weights.backbone import Backbone


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
            _extract(backbone, split.manifest, stores[root], progress)
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


def _extract(backbone: Backbone, manifest: Manifest, store: FeatureStore, progress: Callable[[int, int], None]) -> None:
    """Writes the parts of a store that are not there yet."""
    missing = store.missing()
    total = sum(len(store.ids(part)) for part in missing)
    make(ExtractPart(backbone, manifest, store), missing, lambda done: progress(done, total))
