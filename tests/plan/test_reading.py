"""Requests an image: as `benchmarks.shuffle_block` has counted them, and as reads drawn at random have them."""

from __future__ import annotations

import numpy as np
import pytest

from swav_ray.data.order.block_order import BlockOrder
from swav_ray.plan.reading import Order, per_image
from swav_ray.storage.ranges import _merged

COUNTED = {(0, 512): (0.78, 1.30), (16, 512): (0.059, 1.0), (64, 512): (0.015, 1.0), (64, 4096): (0.59, 1.55)}


@pytest.mark.parametrize(("block", "window"), COUNTED)
def test_requests_and_bytes_are_those_that_were_counted(block: int, window: int) -> None:
    """The table of docs/scale.md: 8,192 images of 20 KB, read 512 at a time."""
    found = per_image(8192, 20_000, Order(block, window, 512))
    requests, read = COUNTED[block, window]
    assert found.requests == pytest.approx(requests, rel=0.03)
    assert found.bytes == pytest.approx(read, rel=0.03)


@pytest.mark.parametrize("size", [3_000, 20_000, 110_000, 500_000])
@pytest.mark.parametrize(
    ("block", "window", "task"), [(0, 512, 256), (16, 512, 512), (64, 512, 256), (64, 500, 192), (32, 1024, 512)]
)
def test_requests_are_those_of_reads_of_that_order(size: int, block: int, window: int, task: int) -> None:
    images, requests, read = 1 << 14, 0, 0
    order = BlockOrder(images, block, max(1, window // block), (1,)) if block else None
    places = np.arange(images // task * task)
    ids = order(places) if order else np.random.default_rng(0).permutation(images)[: len(places)]
    for together in ids.reshape(-1, task):
        spans = [(position, int(number) * size, size) for position, number in enumerate(together)]
        for _, group in _merged(["shard"] * task, spans):
            requests += 1
            read += max(offset + length for _, offset, length in group) - min(offset for _, offset, _ in group)
    found = per_image(images, size, Order(block, window, task))
    assert found.requests == pytest.approx(requests / len(ids), rel=0.1)
    assert found.bytes == pytest.approx(read / len(ids) / size, rel=0.05)


def test_a_billion_images_in_full_order_cost_a_request_each() -> None:
    found = per_image(10**9, 110_000, Order(0, 512, 256))
    assert found.requests == pytest.approx(1.0, abs=1e-4)
    assert per_image(10**9, 110_000, Order(64, 512, 512)).requests == pytest.approx(1 / 64)


@pytest.mark.parametrize(("window", "task"), [(512, 512), (512, 256)])
def test_what_is_cached_is_not_asked_for(window: int, task: int) -> None:
    order = Order(64, window, task)
    half, whole = (per_image(10**6, 110_000, order, missing) for missing in (0.5, 1.0))
    assert half.requests < whole.requests
    assert half.bytes == pytest.approx(0.5 * whole.bytes, rel=0.01)
    assert per_image(10**6, 110_000, order, 0.0).requests == 0
