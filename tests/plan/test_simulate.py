"""The simulation meets the published run, and the formulas of interruptions meet it."""

from __future__ import annotations

import pytest

from swav_ray.plan import simulate
from swav_ray.plan.estimate import interruptions, read_data

RATES = read_data("rates.yaml")


def test_the_simulation_reproduces_the_published_64_gpu_epoch() -> None:
    seconds = simulate.epoch_seconds(simulate.published(RATES), 1_281_167, 4096)
    assert seconds == pytest.approx(220, rel=0.25)


def test_the_simulation_waits_for_crops_that_are_short() -> None:
    hardware = simulate.Hardware(gpus=8, gpu_rate=100, crop_rate=400, communication=0.01, spread=0.02)
    assert simulate.epoch_seconds(hardware, 100_000, 1000) == pytest.approx(100_000 / 400, rel=0.03)


@pytest.mark.parametrize("notice", [True, False])
def test_the_cost_of_interruptions_meets_the_simulation(notice: bool) -> None:
    found = interruptions(8, 0.02, checkpoint_seconds=10, restart_seconds=120, interval=0)
    shares = [
        simulate.interrupted_share(500, found.between, 10, 120, found.best_interval, notice, seed) for seed in range(20)
    ]
    formula = found.share_with_notice if notice else found.share_without_notice
    assert sum(shares) / len(shares) == pytest.approx(formula, rel=0.15)


def test_the_best_interval_is_best_in_the_simulation() -> None:
    found = interruptions(8, 0.05, checkpoint_seconds=20, restart_seconds=60, interval=0)

    def lost(interval: float) -> float:
        every = [simulate.interrupted_share(300, found.between, 20, 60, interval, False, seed) for seed in range(30)]
        return sum(every) / len(every)

    best = lost(found.best_interval)
    assert best < lost(found.best_interval * 4)
    assert best < lost(found.best_interval / 4)
