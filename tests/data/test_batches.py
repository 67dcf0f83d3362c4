"""A worker's batch: the planned samples, whole whatever is unreadable, the same at any time and world size."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swav_ray.config import AugmentConfig, CropsConfig
from swav_ray.data import batches, manifest
from swav_ray.data.bad_images import TooManyBadImages
from swav_ray.data.batch import Batch
from swav_ray.data.batches import BatchMaker, SampleReader
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.quarantine import Quarantine
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.storage.place import place
from tests.pools import pool

CROPS = CropsConfig(sizes=(16, 8), counts=(2, 3), min_scales=(0.3, 0.1), max_scales=(1.0, 0.4))


def write_images(folder: Path, count: int, broken: tuple[int, ...] = ()) -> None:
    rng = np.random.default_rng(0)
    for index in range(count):
        data = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (24, 30, 3), np.uint8)).save(data, "JPEG")
        (folder / f"{index:03d}.jpg").write_bytes(b"no image" if index in broken else data.getvalue())


def make(folder: Path, augment: AugmentConfig | None = None, max_bad_fraction: float = 0.01) -> BatchMaker:
    found = manifest.build(str(folder))
    plan = SamplePlan(found.train_ids(), 0, 6)
    return BatchMaker(found, plan, MultiCrop(CROPS, augment or AugmentConfig(), 0), max_bad_fraction)


def test_shares_put_together_are_the_global_batch(tmp_path: Path) -> None:
    write_images(tmp_path, 12)
    maker = make(tmp_path)
    (ids,) = maker.plan.batches(1, 2)
    whole = maker.make(1, ids).groups(CROPS)
    parts = [maker.make(1, ids[:2]).groups(CROPS), maker.make(1, ids[2:]).groups(CROPS)]
    for index, group in enumerate(whole):
        assert np.array_equal(np.concatenate([part[index] for part in parts], axis=1), group)
    assert [group.shape for group in whole] == [(2, 6, 16, 16, 3), (3, 6, 8, 8, 3)]


@pytest.mark.parametrize("threads", [1, 2])
def test_samples_that_are_read_for_several_batches_make_the_same_ones(
    tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_READ_TOGETHER", 4)
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
def test_a_run_within_its_budget_goes_on_whatever_the_draws(tmp_path: Path, max_bad_fraction: float) -> None:
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


def test_a_batch_survives_the_journey(tmp_path: Path) -> None:
    write_images(tmp_path, 6, broken=(2,))
    maker = make(tmp_path, AugmentConfig(color_device="train"))
    batch = maker.make(0, maker.plan.ids)
    copy = Batch.of(batch.about(), batch.sample_ids, batch.pixels, batch.color)
    assert copy.bad == batch.bad
    assert (copy.step, copy.seconds, copy.bytes_read) == (batch.step, batch.seconds, batch.bytes_read)
    colors = copy.colors(CROPS)
    assert colors is not None
    assert [len(group) for group in colors] == [12, 18]


def test_quarantine_counts_each_image_once_and_stops_past_the_budget(tmp_path: Path) -> None:
    write_images(tmp_path, 12, broken=(1, 4))
    maker = make(tmp_path)
    bad = maker.make(0, maker.plan.ids).bad
    first = [entry for entry in bad if entry.sample_id == 1]
    run_dir = place(tmp_path / "run")
    quarantine = Quarantine(run_dir, 12, 0.1, writes=True)
    quarantine.add(first)
    quarantine.add(first)
    assert list(quarantine.entries) == [1]
    assert not (run_dir / "quarantine.jsonl").exists()  # written with a checkpoint, or where the run ends
    quarantine.flush()
    assert list(Quarantine(run_dir, 12, 1.0, writes=False).entries) == [1]
    with pytest.raises(TooManyBadImages, match=r"2 of 12 images cannot be read.*allows 1") as caught:
        quarantine.add(bad)
    assert "004.jpg" in str(caught.value)
    assert sorted(Quarantine(run_dir, 12, 1.0, writes=False).entries) == [1, 4]
