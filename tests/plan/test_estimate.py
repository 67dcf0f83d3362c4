"""The capacities of each stage: they meet the published figures and the benchmarks."""

from __future__ import annotations

import math

import pytest

from swav_ray.config import CropsConfig, replace
from swav_ray.plan import simulate
from swav_ray.plan.estimate import (
    Images,
    Machine,
    capacity,
    communication,
    crop_rate,
    interruptions,
    read_data,
    work_of,
)
from swav_ray.recipes import swav_200ep, swav_200ep_bs256

RATES = read_data("rates.yaml")
PRICES = read_data("prices.yaml")
V100S = Machine("8 V100", "V100", 8, 80, 100, 0, 0)


def test_the_formula_meets_the_simulation_and_the_published_epoch() -> None:
    config = replace(swav_200ep(), train={"precision": "bf16"})
    able = capacity(config, [(V100S, 8)], Images(), RATES)
    assert able.bottleneck == "GPU"
    assert 312 * 4096 / able.images_per_second == pytest.approx(220, rel=0.25)
    hardware = simulate.Hardware(64, 102.3, able.crops, able.communication_seconds, RATES["gpu_spread"]["value"])
    simulated = simulate.epoch_seconds(hardware, 1_281_167, 4096)
    assert 312 * 4096 / able.images_per_second == pytest.approx(simulated, rel=0.05)


def test_four_gpus_in_one_machine_take_the_published_52_minutes() -> None:
    config = replace(swav_200ep_bs256(), train={"precision": "bf16", "sync_batchnorm": False})
    able = capacity(config, [(Machine("4 V100", "V100", 4, 40, 100, 0, 0), 1)], Images(), RATES)
    assert 5004 * 256 / able.images_per_second == pytest.approx(52 * 60 + 10, rel=0.05)


@pytest.mark.parametrize(
    ("crops", "color_device", "pixels", "milliseconds"),
    [
        (CropsConfig(), "cpu", 187_500, 1.175),
        (CropsConfig(), "train", 187_500, 0.895),
        (CropsConfig(sizes=(32, 16), counts=(2, 4), min_scales=(0.3, 0.1), max_scales=(1.0, 0.3)), "cpu", 4096, 0.060),
    ],
)
def test_the_cost_of_crops_is_what_the_benchmark_measured(
    crops: CropsConfig, color_device: str, pixels: int, milliseconds: float
) -> None:
    config = swav_200ep()
    fields = {name: getattr(crops, name) for name in ("sizes", "counts", "min_scales", "max_scales")}
    config = replace(config, crops=fields, augment={"color_device": color_device})
    assert work_of(config, Images(pixels=pixels), RATES).cpu_seconds * 1000 == pytest.approx(milliseconds, rel=0.1)


def test_float32_is_slower_and_wider_nets_cost_their_square() -> None:
    machine = [(V100S, 1)]
    base = replace(swav_200ep(), train={"precision": "bf16"})
    slow = capacity(swav_200ep(), machine, Images(), RATES).gpu / capacity(base, machine, Images(), RATES).gpu
    assert slow == pytest.approx(RATES["gpus"]["V100"]["fp32"], rel=0.05)
    wide = replace(base, model={"width": 2.0})
    assert work_of(wide, Images(), RATES).gpu_share == 4 * work_of(base, Images(), RATES).gpu_share


def test_each_stage_can_be_the_bottleneck() -> None:
    config = replace(swav_200ep(), train={"precision": "bf16"})

    def bottleneck(images: Images | None = None, **fields: object) -> str:
        usual = {"name": "x", "gpu": "H100", "gpus": 8, "vcpus": 192, "network": 400, "on_demand": 1, "spot": 1}
        return capacity(config, [(Machine(**{**usual, **fields}), 4)], images or Images(), RATES).bottleneck

    assert bottleneck() == "GPU"
    assert bottleneck(vcpus=10) == "CPU crops"
    assert bottleneck(network=3) == "network"
    assert bottleneck(Images(bytes=50_000_000), network=50) == "storage"


def test_crops_made_elsewhere_pass_through_the_network() -> None:
    config = replace(swav_200ep(), train={"precision": "bf16"})
    trainer = Machine("gpu", "H100", 8, 10, 10, 0, 0)
    maker = Machine("cpu", "", 0, 128, 100, 0, 0)
    alone = capacity(config, [(trainer, 1)], Images(), RATES)
    both = capacity(config, [(trainer, 1), (maker, 1)], Images(), RATES)
    assert math.isinf(alone.network)
    assert both.crops > 10 * alone.crops
    # Almost all of 467 KB an image at 70% of 10 Gbit/s.
    assert both.network == pytest.approx(0.7 * 10e9 / 8 / 466_944, rel=0.05)
    assert crop_rate(trainer, config, work_of(config, Images(), RATES), RATES) < both.crops / 10


def test_gradients_cost_nothing_on_one_gpu_and_more_over_a_slow_network() -> None:
    work = work_of(swav_200ep(), Images(), RATES)
    one = Machine("a", "L4", 1, 8, 5, 0, 0)
    assert communication([(one, 1)], work, RATES) == 0
    fast = Machine("b", "L4", 1, 8, 50, 0, 0)
    assert communication([(one, 8)], work, RATES) > communication([(fast, 8)], work, RATES) > 0


def test_without_interruptions_nothing_is_lost() -> None:
    found = interruptions(8, 0, 10, 60, 600)
    assert (found.share_with_notice, found.share_without_notice) == (0, 0)
