"""Features on disk are whole or absent, keyed by sample id, and never taken for another backbone's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.features.store import PART_ROWS, FeaturesOf, FeatureStore
from swav_ray.storage.place import Place, place

OF = FeaturesOf(
    weights="0" * 64,
    layer="pooled",
    image_size=32,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    root="/images",
    fingerprint="f",
    samples="s",
    feature_dim=3,
    precision="float32",
    decoding={"alpha": "drop"},
)
IDS = np.arange(0, 3 * PART_ROWS + 20, 2)  # every other sample


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    return place(tmp_path)


def filled(folder: Place) -> FeatureStore:
    """Sample i has the features (i, i, i); every seventh row of a part is unreadable."""
    store = FeatureStore(folder, OF, IDS)
    for part in range(store.parts):
        ids = store.ids(part)
        reasons = ["truncated" if row % 7 == 0 else None for row in range(len(ids))]
        store.write(part, np.repeat(ids[:, None], 3, axis=1).astype(np.float32), reasons)
    return store


def test_what_is_read_is_what_was_written_in_the_order_of_ids(folder: Place) -> None:
    store = filled(folder)
    wanted = IDS[5:-3]
    features, positions, unreadable = store.read(wanted)
    assert features[:, 0].tolist() == wanted[positions].tolist()
    rows = np.arange(len(IDS)) % PART_ROWS
    readable = IDS[rows % 7 != 0]
    assert wanted[positions].tolist() == [i for i in readable.tolist() if i in set(wanted.tolist())]
    assert unreadable == {i: "truncated" for i in wanted.tolist() if i not in readable}


def test_missing_parts_are_the_work_that_is_left(folder: Place) -> None:
    store = FeatureStore(folder, OF, IDS)
    assert store.missing() == [0, 1]
    store.write(1, np.zeros((len(store.ids(1)), 3), np.float32), [None] * len(store.ids(1)))
    assert FeatureStore(folder, OF, IDS).missing() == [0]
    with pytest.raises(EvaluationError, match=r"part-000000\.parquet: is missing; run the extraction again"):
        store.read(IDS)


@pytest.mark.parametrize("changed", [{"weights": "1" * 64}, {"image_size": 64}, {"samples": "t"}, {"fingerprint": "g"}])
def test_other_weights_images_or_crops_have_a_folder_of_their_own(folder: Place, changed: dict[str, object]) -> None:
    filled(folder)
    assert FeatureStore(folder, replace(OF, **changed), IDS).missing() == [0, 1]


def test_a_folder_of_something_else_is_refused(folder: Place) -> None:
    (folder / OF.digest() / "features.json").write_bytes(b"{}")
    with pytest.raises(EvaluationError, match="holds other features; give another --out or delete it"):
        FeatureStore(folder, OF, IDS)


def test_a_part_that_another_try_may_complete_is_read_now_and_made_again_later(folder: Place) -> None:
    store = FeatureStore(folder, OF, IDS[:4])
    store.write(0, np.ones((4, 3), np.float32), [None, "no such file", None, None], again=True)
    assert store.missing() == [0]
    assert store.read(IDS[:4])[1].tolist() == [0, 2, 3]
    assert store.read(IDS[:4])[2] == {int(IDS[1]): "no such file"}
    store.write(0, np.ones((4, 3), np.float32), [None] * 4)
    assert store.missing() == []
    assert store.read(IDS[:4])[1].tolist() == [0, 1, 2, 3]
    assert len(list((folder / OF.digest()).list())) == 2  # nothing of the first try stays


def test_a_part_of_unreadable_images_alone_can_be_written_and_read(folder: Place) -> None:
    store = FeatureStore(folder, OF, IDS[:4])
    store.write(0, np.zeros((4, 3), np.float32), ["gone"] * 4)
    features, positions, unreadable = store.read(IDS[:4])
    assert features.shape == (0, 3)
    assert len(positions) == 0
    assert list(unreadable.values()) == ["gone"] * 4
