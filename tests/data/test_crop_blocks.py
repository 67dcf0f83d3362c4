"""How many samples a task reads: half a second of crops, or whole windows of neighbours."""

from __future__ import annotations

import pytest

from swav_ray.data.crop_blocks import TASK_BLOCKS, blocks_of_task, parts_of_slice, samples_of_task

SWAV = 3 * (2 * 224**2 + 6 * 96**2)  # bytes of a sample's crops


@pytest.mark.parametrize(("workers", "samples"), [(64, 256), (8, 256), (1, 282)])
def test_a_task_of_the_published_recipe_reads_256_samples_or_some_more(workers: int, samples: int) -> None:
    assert samples_of_task(4096, SWAV, workers) == samples


@pytest.mark.parametrize("workers", [1, 3, 8, 64])
@pytest.mark.parametrize("window", [64, 200, 256, 512, 1024])
def test_with_neighbours_a_task_has_at_least_a_window(workers: int, window: int) -> None:
    read = samples_of_task(4096, SWAV, workers, window)
    assert window <= read < 2 * window + 256
    if workers in (8, 64) and window >= 256:
        assert read % window == 0


def test_a_window_of_more_blocks_than_a_task_may_have_changes_nothing() -> None:
    parts = parts_of_slice(4096, SWAV, 64)
    assert blocks_of_task(4096, SWAV, 64 * parts, 1 << 20) == blocks_of_task(4096, SWAV, 64 * parts)
    assert blocks_of_task(256, 100, 1, 512) == TASK_BLOCKS


@pytest.mark.parametrize(("batch", "workers"), [(7, 1), (7, 2), (8, 8)])
def test_a_small_batch_has_at_least_a_sample_in_each_block(batch: int, workers: int) -> None:
    assert parts_of_slice(batch, 1 << 30, workers) <= batch // workers
    assert samples_of_task(batch, 1 << 30, workers) >= 1
