"""A permutation that is computed where it is needed: a bijection at every size, as random as numpy's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from swav_ray.data.order.keyed_permutation import KeyedPermutation

EPOCHS = 2000
Order = Callable[[int, int], np.ndarray]  # of so many positions, in an epoch


def keyed(size: int, epoch: int) -> np.ndarray:
    return KeyedPermutation(size, (7, epoch))(np.arange(size))


def of_numpy(size: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([7, epoch]).permutation(size)


@pytest.mark.parametrize("size", [*range(1, 70), 255, 256, 257, 1000, 4095, 4097, 100_003])
def test_every_position_is_met_once_and_the_inverse_leads_back(size: int) -> None:
    permutation = KeyedPermutation(size, (3, size))
    images = permutation(np.arange(size))
    assert np.array_equal(np.sort(images), np.arange(size))
    assert np.array_equal(permutation.inverse(images), np.arange(size))


def test_positions_are_permuted_one_by_one_or_together_and_of_any_number() -> None:
    permutation = KeyedPermutation(10**15, (1, 2, 3))
    positions = np.array([0, 1, 999_999, 10**15 - 1])
    together = permutation(positions)
    assert [int(permutation(np.array([position]))[0]) for position in positions] == together.tolist()
    assert ((together >= 0) & (together < 10**15)).all()
    assert np.array_equal(permutation.inverse(together), positions)


def test_other_keys_and_sizes_give_other_orders() -> None:
    orders = {
        tuple(KeyedPermutation(size, key)(np.arange(20))) for size in (20, 21) for key in ((0, 0), (0, 1), (1, 0))
    }
    assert len(orders) == 6


@pytest.mark.parametrize("order", [keyed, of_numpy])
@pytest.mark.parametrize("size", [12, 40])
def test_over_epochs_a_position_goes_everywhere_and_has_every_neighbour_equally_often(order: Order, size: int) -> None:
    """Chi-square tests at a level that numpy's own permutation passes too; fixed seeds, so no luck is needed."""
    orders = np.stack([order(size, epoch) for epoch in range(EPOCHS)])
    went = np.stack([np.bincount(orders[:, place], minlength=size) for place in range(size)])
    assert stats.chi2.sf(((went - EPOCHS / size) ** 2 / (EPOCHS / size)).sum(), (size - 1) ** 2) > 0.001
    beside = np.zeros((size, size))
    np.add.at(beside, (orders[:, :-1].ravel(), orders[:, 1:].ravel()), 1)
    pairs, expected = beside[~np.eye(size, dtype=bool)], EPOCHS / size
    assert stats.chi2.sf(((pairs - expected) ** 2 / expected).sum(), size * (size - 1) - 1) > 0.001


@pytest.mark.parametrize("order", [keyed, of_numpy])
def test_places_do_not_follow_positions(order: Order) -> None:
    """Spearman's correlation of place and position, in standard errors, over 200 epochs: mean 0, deviation 1."""
    size = 5000
    scores = [stats.spearmanr(np.arange(size), order(size, epoch))[0] * np.sqrt(size - 1) for epoch in range(200)]
    assert abs(np.mean(scores)) < 4 / np.sqrt(200)
    assert 0.8 < np.std(scores) < 1.25
    kept = [int((np.diff(order(size, epoch)) == 1).sum()) for epoch in range(200)]
    assert abs(np.mean(kept) - 1) < 4 / np.sqrt(200)  # neighbours that stay neighbours: Poisson, mean 1


def test_an_impossible_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has 1 to 2\*\*62 positions, not 0"):
        KeyedPermutation(0, (1,))
