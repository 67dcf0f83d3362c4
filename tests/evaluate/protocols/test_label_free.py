"""Figures without labels come from the backbone's own features and prototypes, and a sheet shows its neighbours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from swav_ray.data.manifest import build
from swav_ray.evaluate.label_free import rank_me
from swav_ray.evaluate.protocols import label_free
from tests.data.images import image, write_files
from tests.evaluate.protocols.given import given, split


def test_rank_and_codes_of_a_place(tmp_path: Path) -> None:
    write_files(tmp_path, {f"{i:02d}.jpg": image(i) for i in range(40)})
    made = given(val=split(40, 2), manifest=build(str(tmp_path)))
    judged = label_free.run(made)
    assert judged.figures["RankMe"].value == pytest.approx(rank_me(torch.from_numpy(made.val.features)))
    assert list(judged.figures) == ["RankMe", "information of codes, nats", "agreement of codes"]
    assert judged.correct == {}
    assert judged.picture.startswith(b"\x89PNG")
    assert label_free.run(made).figures == judged.figures


def test_weights_without_prototypes_have_their_rank_alone() -> None:
    made = given()
    parts = replace(made.backbone.origin.parts, head={})
    made.backbone.origin = replace(made.backbone.origin, parts=parts)
    judged = label_free.run(made)
    assert list(judged.figures) == ["RankMe"]
    assert judged.notes == ["codes are left out: these weights have no prototypes"]


def test_neighbours_are_those_of_the_features_in_order() -> None:
    asked: list[np.ndarray] = []
    made = given()

    def crops(ids: np.ndarray) -> np.ndarray:
        asked.append(ids)
        return np.zeros((len(ids), 16, 16, 3), np.uint8)

    label_free._neighbours(replace(made, crops=crops))
    features = made.val.features / np.linalg.norm(made.val.features, axis=1, keepdims=True)
    queries = np.arange(8) * 200 // 8
    nearest = np.argsort(-(features[queries] @ features.T), axis=1)[:, :8]
    assert asked[0].tolist() == np.unique(nearest).tolist()
