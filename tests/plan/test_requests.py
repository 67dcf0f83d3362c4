"""Requests of a run: one an image and epoch, or with a cache one an image and node in the end."""

from __future__ import annotations

import numpy as np
import pytest

from swav_ray.plan.requests import requests

PRICES = {"get_per_1000": 0.0004}


def test_imagenet_for_200_epochs_is_256_million_requests() -> None:
    found = requests(1_281_167, 110_000, 200, 1, PRICES)
    assert found.run == 200 * found.an_epoch == 256_233_400
    assert found.dollars == pytest.approx(102.5, abs=0.1)
    assert found.run_cached == found.an_epoch
    assert found.cache_gigabytes == pytest.approx(141.7, abs=0.1)


@pytest.mark.parametrize(("nodes", "epochs"), [(1, 1), (2, 3), (8, 20)])
def test_a_cache_saves_what_tasks_on_random_nodes_would_find_in_it(nodes: int, epochs: int) -> None:
    rng, images = np.random.default_rng(0), 20_000
    seen = np.zeros((images, nodes), bool)
    missed = 0
    for _ in range(epochs):
        at = rng.integers(nodes, size=images)
        missed += int((~seen[np.arange(images), at]).sum())
        seen[np.arange(images), at] = True
    assert requests(images, 1, epochs, nodes, PRICES).run_cached == pytest.approx(missed, rel=0.01)


def test_a_price_list_without_a_price_of_requests_gives_none() -> None:
    found = requests(1000, 110_000, 2, 2, {})
    assert found.dollars is None
    assert found.dollars_cached is None
    assert found.run == 2000
