"""The published schedules, and what changes of them with what a user chooses."""

from __future__ import annotations

import pytest

from swav_ray.evaluate.detect.protocol import protocol, published_figures, variant_of
from swav_ray.evaluate.detect.settings import COCO_1X, COCO_2X, PUBLISHED, VOC


def test_vocs_rate_is_the_papers() -> None:
    voc = PUBLISHED[VOC]
    assert (voc.iterations, voc.batch_size) == (24_000, 16)
    assert voc.rate(0) == pytest.approx(0.0333)
    assert voc.rate(500) == pytest.approx(0.1 * (0.333 + 0.667 / 2))
    assert [voc.rate(step) for step in (1000, 17_999)] == [0.1, 0.1]
    assert [voc.rate(step) for step in (18_000, 22_000)] == pytest.approx([0.01, 0.001])


def test_cocos_schedules_are_1x_and_2x() -> None:
    one, two = PUBLISHED[COCO_1X], PUBLISHED[COCO_2X]
    assert (one.iterations, one.drops) == (90_000, (60_000, 80_000))
    assert (two.iterations, two.drops) == (180_000, (120_000, 160_000))


def test_warm_up_and_drops_keep_their_place_in_a_shorter_schedule() -> None:
    short = PUBLISHED[VOC].changed(iterations=240)
    assert (short.warmup, short.drops) == (10, (180, 220))


def test_the_rate_follows_the_batch_unless_it_is_given() -> None:
    assert PUBLISHED[VOC].changed(batch_size=8).lr == pytest.approx(0.05)
    assert PUBLISHED[VOC].changed(batch_size=8, lr=0.1).lr == 0.1


def test_sizes_and_boxes_follow_the_image_size() -> None:
    small = PUBLISHED[VOC].changed(image_size=160)
    assert (small.short_sides[0], small.short_sides[-1], small.long_side) == (96, 160, 267)
    assert (small.scale, small.rois, small.anchors) == (0.2, 102, 51)


def test_any_change_is_another_protocol_and_is_told() -> None:
    published = PUBLISHED[VOC]
    same, other = published.changed(), published.changed(lr=0.05)
    assert protocol(same, VOC, masks=False).settings["as published"]
    changed = protocol(other, VOC, masks=False)
    assert not changed.settings["as published"]
    assert changed.digest() != protocol(same, VOC, masks=False).digest()


def test_the_variant_follows_the_data_unless_it_is_given() -> None:
    assert [variant_of({"variant": ""}, kind) for kind in ("voc", "coco")] == [VOC, COCO_1X]
    assert variant_of({"variant": COCO_2X}, "coco") == COCO_2X


def test_published_figures_stand_beside_those_of_the_same_data_alone() -> None:
    assert published_figures(VOC, "voc", 20) == {"AP50": 82.6}
    assert published_figures(VOC, "voc", 3) == {}
