"""A batch is flat memory: it crosses processes as it is, and its parts join to the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swav_ray.config import AugmentConfig
from swav_ray.data.bad_images import BadImage
from swav_ray.data.batch import Batch
from tests.data.makers import CROPS, make, write_images


def test_slices_put_together_are_the_global_batch(tmp_path: Path) -> None:
    write_images(tmp_path, 12, broken=(3,))
    maker = make(tmp_path, AugmentConfig(color_device="train"))
    (ids,) = maker.plan.batches(1, 2)
    whole = maker.make(1, ids)
    joined = Batch.join([maker.make(1, ids[:2]), maker.make(1, ids[2:5]), maker.make(1, ids[5:])], CROPS)
    assert np.array_equal(joined.sample_ids, ids)
    assert np.array_equal(joined.pixels, whole.pixels)
    assert np.array_equal(joined.color, whole.color)
    assert joined.bad == whole.bad
    assert [group.shape for group in joined.groups(CROPS)] == [(2, 6, 16, 16, 3), (3, 6, 8, 8, 3)]


def batch(step: int, rows: int, node: str) -> Batch:
    pixels = np.zeros(rows * (2 * 16 * 16 + 3 * 8 * 8) * 3, np.uint8)
    return Batch(step, np.arange(rows), pixels, np.empty(0, np.float32), [], 0.5, 100, 1, (node,), changed=2)


def test_costs_add_up_and_each_machine_is_named_once() -> None:
    joined = Batch.join([batch(4, 1, "a"), batch(4, 2, "b"), batch(4, 1, "a")], CROPS)
    assert (joined.seconds, joined.bytes_read, joined.retries, joined.made_on) == (1.5, 300, 3, ("a", "b"))
    assert joined.changed == 6
    assert Batch.of(joined.about(), joined.sample_ids, joined.pixels, joined.color).changed == 6
    assert joined.colors(CROPS) is None


def test_a_single_part_is_not_copied_and_parts_of_two_steps_do_not_join() -> None:
    part = batch(4, 2, "a")
    assert Batch.join([part], CROPS) is part
    with pytest.raises(ValueError, match=r"different steps: \[4, 5\]"):
        Batch.join([part, batch(5, 2, "a")], CROPS)


def test_a_batch_survives_the_journey(tmp_path: Path) -> None:
    write_images(tmp_path, 6, broken=(2,))
    maker = make(tmp_path, AugmentConfig(color_device="train"))
    made = maker.make(0, maker.plan.ids)
    copy = Batch.of(made.about(), made.sample_ids, made.pixels, made.color)
    assert copy.bad == made.bad
    assert (copy.step, copy.seconds, copy.bytes_read) == (made.step, made.seconds, made.bytes_read)
    colors = copy.colors(CROPS)
    assert colors is not None
    assert [len(group) for group in colors] == [12, 18]


def test_a_replacement_is_shown_in_the_place_of_an_unreadable_image(tmp_path: Path) -> None:
    """Also if it is unreadable itself, and its own row in the same batch has another replacement."""
    chain = [BadImage(5, "5", "empty", "", 7), BadImage(7, "7", "empty", "", 2), BadImage(7, "7", "empty", "", 9)]
    empty = np.empty(0, np.uint8)
    made = Batch(0, np.array([4, 5, 7, 2]), empty, np.empty(0, np.float32), chain, 0.0, 0, 0)
    assert made.shown_ids().tolist() == [4, 2, 9, 2]
    write_images(tmp_path, 12, broken=(3, 4))
    maker = make(tmp_path, AugmentConfig())
    for step in range(6):
        (ids,) = maker.plan.batches(step, step + 1)
        whole = maker.make(step, ids)
        assert not {3, 4} & set(whole.shown_ids().tolist())
        if not whole.bad:
            assert np.array_equal(whole.shown_ids(), ids)
