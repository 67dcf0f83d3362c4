"""The composed set is the same for the same seed, and its masks are what shows of each item."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.compose_detection import compose, composed, photos
from swav_ray.evaluate.detect import masks
from swav_ray.evaluate.detect.annotations import Annotated
from swav_ray.storage.place import place
from tests.evaluate.detect.digits import digits


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        compose(place(tmp_path / name), digits(2), train=2, val=1, side=48, seed=seed)
    first = files_of(tmp_path / "first")
    assert len(first) == 2 + 2 * 3 + 3 + 2
    assert files_of(tmp_path / "again") == first
    assert files_of(tmp_path / "other") != first


def test_items_hide_what_lies_under_them(draws: np.random.Generator) -> None:
    backgrounds, items = photos(), digits(2)
    for _ in range(10):
        image, pasted = composed(draws, backgrounds, items, 64)
        assert image.dtype == np.uint8
        shown = np.sum([one.mask for one in pasted], axis=0)
        assert shown.shape == image.shape[:2]
        assert shown.max() == 1


def test_masks_fill_their_boxes(train: Annotated) -> None:
    for objects in train.objects:
        assert objects.masks is not None
        for box, code in zip(objects.boxes, objects.masks, strict=True):
            rows, columns = np.nonzero(masks.decode(code))
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
