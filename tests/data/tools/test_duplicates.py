"""Of byte-identical images one stays; a held-out one rather than its twin in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from swav_ray.data.contents import content_digest
from swav_ray.data.manifest import build
from swav_ray.data.tools.duplicates import equal_rows, without_copies
from tests.data.images import image, write_files


def test_equal_rows_are_found_wherever_they_lie() -> None:
    rows = np.array([content_digest(word) for word in (b"a", b"b", b"a", b"c", b"b", b"a")])
    rows[3] = 0  # not read
    assert equal_rows(np.concatenate([rows, np.zeros((1, 16), np.uint8)])) == [[0, 2, 5], [1, 4]]


def test_of_equals_the_first_stays_or_the_one_held_out(tmp_path: Path) -> None:
    files = {
        "train/a/0.jpg": image(0),
        "train/a/1.jpg": image(1),
        "train/b/again.jpg": image(1),
        "val/a/twin.jpg": image(0),
        "val/b/empty.jpg": b"",
        "train/b/empty.jpg": b"x",
    }
    manifest = build(str(write_files(tmp_path, files)))
    kept = [manifest.table["uri"][sample].as_py() for sample in without_copies(manifest).tolist()]
    assert kept == ["train/a/1.jpg", "train/b/empty.jpg", "val/a/twin.jpg", "val/b/empty.jpg"]
