"""Requests of a run: by its order one an image or one a block, and with a cache one an image and node in the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from swav_ray.config import Config, replace
from swav_ray.plan.estimate import Images, read_data
from swav_ray.plan.requests import Reads, reads_of
from swav_ray.recipes import by_name

RATES = read_data("rates.yaml")
PRICES = {"get_per_1000": 0.0004}


def reads(images: int, nodes: int = 1, block: int = 0, config: Config | None = None, **changes: Any) -> Reads:
    config = replace(config or by_name("swav_200ep"), **changes)
    layout = "shards" if block else "files"
    return reads_of(layout, block, config, Images(images), 8 * nodes, nodes, RATES, changes.get("prices", PRICES))


def test_imagenet_for_200_epochs_is_256_million_requests() -> None:
    found = reads(1_281_167)
    assert found.run == 200 * found.an_epoch == 256_233_400
    assert found.dollars == pytest.approx(102.5, abs=0.1)
    assert found.run_cached == found.an_epoch
    assert found.cache_gigabytes == pytest.approx(141.7, abs=0.1)
    assert found.terabytes == pytest.approx(200 * found.terabytes_cached)


@pytest.mark.parametrize(("nodes", "epochs"), [(1, 1), (2, 3), (8, 20)])
def test_a_cache_saves_what_tasks_on_random_nodes_would_find_in_it(nodes: int, epochs: int) -> None:
    rng, images = np.random.default_rng(0), 20_000
    seen = np.zeros((images, nodes), bool)
    missed = 0
    for _ in range(epochs):
        at = rng.integers(nodes, size=images)
        missed += int((~seen[np.arange(images), at]).sum())
        seen[np.arange(images), at] = True
    found = reads(images, nodes, train={"epochs": epochs}, optim={"warmup_epochs": 0})
    assert found.run_cached == pytest.approx(missed, rel=0.01)


@pytest.mark.parametrize("block", [16, 64])
def test_neighbours_share_a_request(block: int) -> None:
    found = reads(10**6, 8, block)
    assert found.task % found.window == 0
    assert found.per_image == pytest.approx(1 / block, rel=0.01)
    assert found.run == pytest.approx(10**6 * 200 / block, rel=0.01)


def test_a_window_that_no_task_reads_as_a_whole_costs_requests() -> None:
    assert reads(10**6, 8, 64, data={"shuffle_window": 4096}).per_image > 0.5


def test_a_long_list_costs_another_request_an_image_or_one_a_block() -> None:
    assert reads(2_000_000).list_per_image == 0
    assert reads(10**9).list_per_image == pytest.approx(1.0, abs=0.01)
    found = reads(10**9, 8, 64)
    assert found.list_per_image == pytest.approx(1 / 64, rel=0.03)
    assert found.an_epoch == pytest.approx(10**9 * 2 / 64, rel=0.03)


def test_a_price_list_without_a_price_of_requests_gives_none() -> None:
    found = reads_of("files", 0, Config(), Images(1000), 2, 2, RATES, {})
    assert found.dollars is None
    assert found.dollars_cached is None
