"""Features of the parts of a store are those of the backbone, whatever network a task was sent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from swav_ray.data.manifest import build
from swav_ray.evaluate.features import store as stores
from swav_ray.evaluate.features.store import FeatureStore
from swav_ray.evaluate.features.work import ExtractPart
from swav_ray.features.making import make_parts
from swav_ray.storage.place import place
from tests.data.images import image, write_files
from tests.evaluate.features.test_store import OF
from tests.evaluate.protocols.given import backbone

CPU = torch.device("cpu")


def test_parts_hold_the_backbones_own_features_and_unreadable_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "PART_ROWS", 4)
    write_files(tmp_path / "images", {f"{i}.jpg": image(i) for i in range(10)} | {"5.jpg": b"no image"})
    manifest, network = build(str(tmp_path / "images")), backbone()
    of = OF.__class__(**vars(OF) | {"feature_dim": network.feature_dim})
    store = FeatureStore(place(tmp_path) / "features", of, np.arange(10))
    assert list(make_parts(ExtractPart(network, manifest, store), store.missing(), CPU)) == [4, 4, 2]
    assert [store.is_made(part) for part in range(3)] == [True] * 3
    features, positions, unreadable = store.read(np.arange(10))
    assert (positions.tolist(), list(unreadable)) == ([0, 1, 2, 3, 4, 6, 7, 8, 9], [5])
    with torch.inference_mode():
        expected = network(torch.stack([network.preprocess(image(i)) for i in positions.tolist()])).numpy()
    assert np.abs(features - expected).max() < 1e-5 * np.abs(expected).max()
