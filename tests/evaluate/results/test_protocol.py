"""A figure says how sure it is, and two backbones are told apart only beyond luck."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from swav_ray.evaluate.results.protocol import (
    Protocol,
    Result,
    accuracy,
    bootstrap,
    draws_of,
    paired_draws_test,
    paired_test,
)

PROTOCOL = Protocol(name="knn", version=1, settings={"k": 20}, source="here")


def test_the_hash_follows_name_version_and_settings_and_nothing_else() -> None:
    changed = [replace(PROTOCOL, name="x"), replace(PROTOCOL, version=2), replace(PROTOCOL, settings={"k": 21})]
    assert len({PROTOCOL.digest(), *(protocol.digest() for protocol in changed)}) == 4
    assert replace(PROTOCOL, source="there").digest() == PROTOCOL.digest()


@pytest.mark.parametrize(("right", "images"), [(0, 10), (3, 10), (540, 1000), (1000, 1000)])
def test_the_interval_of_an_accuracy_is_wilsons(right: int, images: int) -> None:
    figure = accuracy(np.arange(images) < right)
    interval = stats.binomtest(right, images).proportion_ci(method="wilson")
    assert figure.value == pytest.approx(100 * right / images)
    assert (figure.low, figure.high) == pytest.approx((100 * interval.low, 100 * interval.high), abs=1e-6)


def test_a_bootstrap_interval_covers_the_mean_of_a_known_sample() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    figure = bootstrap(np.mean, values, unit="")
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < figure.value < figure.high
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * 2 / np.sqrt(400), rel=0.25)


def test_the_paired_test_is_mcnemars_exact_one() -> None:
    first = dict.fromkeys(range(100), False) | dict.fromkeys(range(40), True)
    second = dict.fromkeys(range(100), False) | dict.fromkeys(range(10, 62), True)
    difference, chance = paired_test(first, second)
    assert difference == pytest.approx(12)
    assert chance == pytest.approx(stats.binomtest(10, 32, 0.5).pvalue)
    assert paired_test(first, first) == (0.0, 1.0)
    with pytest.raises(ValueError, match="no image was judged by both"):
        paired_test({1: True}, {2: True})


def test_draws_of_the_same_images_tell_a_small_difference_from_luck() -> None:
    generator = np.random.default_rng(2)
    hard = generator.normal(50, 20, 300)  # how hard an image is matters more than the backbone

    def judged(values: np.ndarray) -> Result:
        figure, draws = bootstrap(np.mean, values), draws_of(np.mean, values)
        nothing = Protocol(name="svm", version=1, settings={}, source="")
        return Result(
            protocol=nothing,
            backbone="",
            weights="",
            train={},
            val={},
            preprocessing={},
            figures={"mAP": figure},
            draws=draws.tolist(),
        )

    better, alike = hard + 1 + generator.normal(0, 4, 300), hard + generator.normal(0, 4, 300)
    first = judged(hard)
    for values in (better, alike):
        assert paired_draws_test(first, judged(values)) == pytest.approx(
            stats.ttest_rel(hard, values).pvalue, rel=0.35, abs=0.003
        )
    assert paired_draws_test(first, first) == 1.0
    assert paired_draws_test(first, judged(hard + 1)) < 1e-9
