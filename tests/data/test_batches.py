"""A worker's batch: the planned samples, whole whatever is unreadable, the same at any time and world size."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from swav_ray.config import AugmentConfig
from swav_ray.data import batches
from swav_ray.data.bad_images import TooManyBadImages
from swav_ray.data.batches import SampleReader
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.decoding.decode import decode
from swav_ray.data.sources import read_samples
from tests.data.makers import CROPS, make, write_images
from tests.pools import pool


@pytest.mark.parametrize("threads", [1, 2])
def test_samples_that_are_read_for_several_batches_make_the_same_ones(
    tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "READ_TOGETHER", 4)
    write_images(tmp_path, 18, broken=(2,))
    maker = dataclasses.replace(make(tmp_path, max_bad_fraction=0.2), threads=threads)
    planned = list(maker.plan.batches(0, 3))
    samples = SampleReader(maker.manifest, np.concatenate(planned))
    for step, ids in enumerate(planned):
        alone, together = maker.make(step, ids), maker.make(step, ids, samples=samples)
        assert (together.pixels == alone.pixels).all()
        assert together.bad == alone.bad
        assert len(together.bad) == (2 in ids)
    with pytest.raises(RuntimeError):
        maker.make(2, planned[2], samples=samples)


def test_threads_make_the_same_batch_as_one(tmp_path: Path) -> None:
    write_images(tmp_path, 40, broken=(4, 5, 17))
    one = make(tmp_path, AugmentConfig(color_device="train"), max_bad_fraction=0.2)
    two = dataclasses.replace(one, threads=2)
    batch, again = (maker.make(3, maker.plan.ids) for maker in (one, two))
    assert np.array_equal(batch.pixels, again.pixels)
    assert np.array_equal(batch.color, again.color)
    assert batch.bad == again.bad
    assert len(batch.bad) >= 3


def test_a_failure_in_a_thread_ends_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, 200)
    maker = dataclasses.replace(make(tmp_path), threads=2)
    kind, begun = pool(), []

    def crop(*arguments: object) -> None:
        sample_id = arguments[3]
        begun.append(sample_id)
        if sample_id == maker.plan.ids[0]:
            raise RuntimeError("no room")
        kind.given_up.wait(30)

    monkeypatch.setattr(batches, "ThreadPoolExecutor", kind)
    monkeypatch.setattr(MultiCrop, "__call__", crop)
    with pytest.raises(RuntimeError, match="no room"):
        maker.make(0, maker.plan.ids)
    assert len(begun) <= 3


def test_an_unreadable_image_is_replaced_the_same_way_each_time(tmp_path: Path) -> None:
    write_images(tmp_path, 12, broken=(4,))
    maker = make(tmp_path)
    step = next(s for s in range(2) if 4 in maker.plan.batches(s, s + 1)[0])
    (ids,) = maker.plan.batches(step, step + 1)
    batch, again = maker.make(step, ids), maker.make(step, ids)
    (bad,) = batch.bad
    assert (bad.sample_id, bad.kind) == (4, "not_an_image")
    assert bad.uri.endswith("004.jpg")
    assert np.array_equal(batch.pixels, again.pixels)
    assert np.array_equal(batch.sample_ids, ids)
    row = ids.tolist().index(4)
    stand_in = maker.make(step, np.array([bad.replaced_by]))
    for group, other in zip(batch.groups(CROPS), stand_in.groups(CROPS), strict=True):
        assert np.array_equal(group[:, row], other[:, 0])


@pytest.mark.parametrize("max_bad_fraction", [0.98, 1.0])
def test_a_run_within_its_budget_continues_whatever_the_draws(tmp_path: Path, max_bad_fraction: float) -> None:
    write_images(tmp_path, 60, broken=tuple(i for i in range(60) if i not in (7, 41)))
    maker = make(tmp_path, max_bad_fraction=max_bad_fraction)
    batch, again = (maker.make(0, maker.plan.ids[:6]) for _ in range(2))
    assert {bad.sample_id for bad in batch.bad} <= set(range(60)) - {7, 41}
    assert np.array_equal(batch.pixels, again.pixels)
    with pytest.raises(TooManyBadImages, match="in a row cannot be read"):
        make(tmp_path).make(0, maker.plan.ids[:6])


@pytest.mark.parametrize("max_bad_fraction", [0.01, 1.0])
def test_nothing_readable_stops_with_one_line(tmp_path: Path, max_bad_fraction: float) -> None:
    write_images(tmp_path, 6, broken=tuple(range(6)))
    maker = make(tmp_path, max_bad_fraction=max_bad_fraction)
    with pytest.raises(TooManyBadImages, match="in a row cannot be read"):
        maker.make(0, maker.plan.ids)


def test_a_batch_says_how_long_its_images_took_to_decode_and_how_large_they_are(tmp_path: Path) -> None:
    write_images(tmp_path, 12)
    maker = make(tmp_path)
    batch = maker.make(0, maker.plan.ids[:4])
    images = [decode(data) for data in read_samples(maker.manifest, maker.plan.ids[:4]) if isinstance(data, bytes)]
    assert batch.source_pixels == sum(image.shape[0] * image.shape[1] for image in images)
    assert 0 < batch.decode_seconds < batch.seconds
