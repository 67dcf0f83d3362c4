"""A data set on paper: what grows with the number of images, what does not, and what a billion images should change."""

from __future__ import annotations

from typing import Any

import pytest

from swav_ray.config import Config, replace
from swav_ray.plan.cost import machines
from swav_ray.plan.data_set import DataSet, data_set
from swav_ray.plan.estimate import Images, read_data
from swav_ray.plan.show_data_set import advice
from swav_ray.recipes import by_name

RATES, PRICES = read_data("rates.yaml"), read_data("prices.yaml")


def planned(images: int, config: Config | None = None, prices: dict[str, Any] = PRICES) -> DataSet:
    node = machines(PRICES)["p3.16xlarge"]
    return data_set(config or by_name("swav_200ep"), Images(images), node, 8, RATES, prices)


def blocks(window: int = 512, **scaling: Any) -> Config:
    return replace(by_name("swav_200ep"), data={"shuffle_block": 64, "shuffle_window": window}, scaling=scaling)


def test_no_process_grows_from_a_hundred_million_images_to_a_billion() -> None:
    small, large = planned(10**8), planned(10**9)
    assert small.memory == large.memory
    assert max(large.memory.driver, large.memory.worker, large.memory.crop_task) < 1000
    assert large.list_gigabytes == pytest.approx(10 * small.list_gigabytes)


def test_a_short_list_is_held_by_each_process_as_it_was_measured() -> None:
    found = planned(10**6)
    assert found.in_memory
    assert found.memory.worker == pytest.approx(433, rel=0.2)
    assert found.memory.crop_task == pytest.approx(212, rel=0.05)
    assert found.memory.node > 8 * found.memory.worker


def test_an_inventory_saves_the_listing() -> None:
    index = planned(10**9).index
    assert index.listings == 10**6
    assert index.dollars == pytest.approx(5.0)
    assert index.seconds > index.seconds_with_inventory > 3600


def test_a_billion_images_in_full_order_are_told_what_to_change() -> None:
    lines = advice(by_name("swav_200ep"), planned(10**9))
    assert any("--data.shuffle_block 64" in line and "import PLACE SHARDS --shuffle" in line for line in lines)
    assert any("leave the node cache off" in line for line in lines)
    assert any("--inventory" in line for line in lines)


def test_imagenet_is_told_nothing() -> None:
    assert advice(by_name("swav_200ep"), planned(1_281_167)) == []


def test_a_cache_that_is_too_small_and_a_window_that_is_too_large_are_named() -> None:
    small = blocks(cache_dir="/nvme", cache_bytes=10_000_000_000)
    assert any("scaling.cache_bytes (10 GB) holds 7%" in line for line in advice(small, planned(1_281_167, small)))
    wide = blocks(window=4096)
    assert any("choose a smaller --data.shuffle_window" in line for line in advice(wide, planned(10**6, wide)))
    assert advice(blocks(), planned(10**6, blocks())) == []


def test_without_prices_there_are_counts() -> None:
    bare = {"machines": PRICES["machines"]}
    found = planned(10**6, prices=bare)
    assert found.out_dollars is found.zone_dollars is found.import_dollars is found.index.dollars is None
    assert found.reads[0].run == 200 * 10**6
