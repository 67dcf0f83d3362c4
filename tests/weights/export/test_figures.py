"""A model card has the figures of evaluations of exactly its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swav_ray.storage.place import Place, place
from swav_ray.weights.export.figures import rows_of

VAL = {"place": "s3://b/val", "images": 1000}


def evaluate(run_dir: Place, weights: str, value: float, *, val: Any = VAL, interval: bool = True) -> None:
    """What an evaluation leaves in the run directory."""
    low, high = (value - 3, value + 3) if interval else (None, None)
    document = {
        "protocol": "knn",
        "version": 1,
        "hash": "0123456789ab",
        "weights": weights,
        "val": val,
        "figures": {"top-1": {"value": value, "unit": "%", "low": low, "high": high}},
    }
    folder = run_dir / "evaluations" / weights[:12] / "knn"
    (folder / "results.json").write_bytes(json.dumps(document).encode())


def test_a_figure_has_its_interval_its_protocol_and_its_images(tmp_path: Path) -> None:
    evaluate(place(tmp_path), "mine", 61.0)
    protocol = "knn (version 1, 0123456789ab), 1,000 images of s3://b/val"
    assert list(rows_of(place(tmp_path), "mine")) == [("top-1", "61% [58, 64]", protocol)]


def test_other_weights_have_no_part_in_it(tmp_path: Path) -> None:
    evaluate(place(tmp_path), "another", 99.0)
    assert list(rows_of(place(tmp_path), "mine")) == []


def test_the_first_evaluations_named_the_place_of_the_images_alone(tmp_path: Path) -> None:
    evaluate(place(tmp_path), "mine", 61.0, val="s3://b/val", interval=False)
    protocol = "knn (version 1, 0123456789ab), images of s3://b/val"
    assert list(rows_of(place(tmp_path), "mine")) == [("top-1", "61%", protocol)]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"weights": "mine", "val": {}}'])
def test_a_damaged_file_is_named_and_stops_nothing(tmp_path: Path, content: bytes) -> None:
    (place(tmp_path) / "evaluations" / "mine" / "knn" / "results.json").write_bytes(content)
    assert list(rows_of(place(tmp_path), "mine")) == [("?", "?", "`evaluations/mine/knn/results.json` cannot be read")]
