"""An image, its boxes and its masks go through the same resizing and flip, drawn from seed, epoch and image alone."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swav_ray.data.decoding.decode import UnreadableImage
from swav_ray.evaluate.detect.annotations import Annotated
from swav_ray.evaluate.detect.examples import Augment, Example, pixels_of, resized, test_example, training_example
from swav_ray.storage.place import place

test_example.__test__ = False  # type: ignore[attr-defined]  # a name that pytest takes for a test
AUGMENT = Augment((40, 50, 60), 80, 0.5, True)


def box_of(mask: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def equal(one: Example, other: Example) -> bool:
    assert one.masks is not None
    assert other.masks is not None
    same = [np.array_equal(getattr(one, name), getattr(other, name)) for name in ("image", "boxes", "labels", "masks")]
    return all(same) and one.key == other.key


def test_masks_stay_within_their_boxes_whatever_is_drawn(train: Annotated) -> None:
    for index in range(len(train)):
        for epoch in range(4):
            example = training_example(train, index, AUGMENT, 0, epoch)
            assert example.masks is not None
            assert example.masks.shape == (len(example.boxes), *example.image.shape[:2])
            for box, mask in zip(example.boxes, example.masks, strict=True):
                assert np.abs(box - box_of(mask)).max() <= 1.5  # pixels, of resizing a mask to its nearest ones


def test_a_flip_is_undone_by_a_flip(train: Annotated) -> None:
    straight = training_example(train, 0, replace(AUGMENT, flip=0.0), 0, 0)
    flipped = training_example(train, 0, replace(AUGMENT, flip=1.0), 0, 0)
    assert np.array_equal(straight.image, flipped.image[:, ::-1])
    width = straight.image.shape[1]
    assert np.allclose(straight.boxes[:, [0, 2]], width - flipped.boxes[:, [2, 0]], atol=1e-4)
    assert straight.masks is not None
    assert flipped.masks is not None
    assert np.array_equal(straight.masks, flipped.masks[:, :, ::-1])


def test_draws_follow_from_seed_epoch_and_image(train: Annotated) -> None:
    first = training_example(train, 3, AUGMENT, 1, 2)
    assert equal(first, training_example(train, 3, AUGMENT, 1, 2))
    others = [(4, 1, 2), (3, 2, 2), (3, 1, 3)]
    keys = {training_example(train, index, AUGMENT, seed, epoch).key for index, seed, epoch in others}
    assert len(keys | {first.key}) == 4
    drawn = [training_example(train, 3, AUGMENT, 0, epoch) for epoch in range(12)]
    assert len({min(example.image.shape[:2]) for example in drawn}) > 1


def test_the_long_side_has_a_limit() -> None:
    assert resized(np.zeros((40, 100, 3), np.uint8), 60, 80).shape == (32, 80, 3)
    assert resized(np.zeros((40, 50, 3), np.uint8), 60, 80).shape == (60, 75, 3)


def test_crowds_teach_nothing(train: Annotated) -> None:
    objects = replace(train.objects[0], crowd=np.arange(len(train.objects[0])) == 0)
    changed = replace(train, objects=[objects, *train.objects[1:]])
    assert len(training_example(changed, 0, AUGMENT, 0, 0).boxes) == len(objects) - 1


def with_image(annotated: Annotated, folder: Path, data: bytes) -> Annotated:
    (folder / "a.jpg").write_bytes(data)
    return replace(annotated.take([0]), root=place(folder), names=["a.jpg"], sizes=np.array([[40, 60]]))


def jpeg(orientation: int) -> bytes:
    image, sink = Image.fromarray(np.zeros((60, 40, 3), np.uint8)), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(sink, "JPEG", exif=exif)
    return sink.getvalue()


def test_boxes_are_of_the_image_as_it_is_seen_upright(train: Annotated, tmp_path: Path) -> None:
    assert pixels_of(with_image(train, tmp_path, jpeg(6)), 0).shape == (40, 60, 3)
    with pytest.raises(UnreadableImage, match="is 40 x 60, and its annotations are for 60 x 40"):
        pixels_of(with_image(train, tmp_path, jpeg(1)), 0)


def test_what_cannot_be_read_says_why(train: Annotated, tmp_path: Path) -> None:
    changed = with_image(train, tmp_path, jpeg(6)[:200])
    with pytest.raises(UnreadableImage):
        test_example(changed, 0, 40, 80)
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(UnreadableImage, match="no such file"):
        pixels_of(changed, 0)
