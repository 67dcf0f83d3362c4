"""What a run costs: hours and dollars, with and without preemptions, and which machines would do better."""

from __future__ import annotations

import pytest

from swav_ray.config import ConfigError, replace
from swav_ray.plan.cost import Cost, Spot, cost, machines, parse_nodes
from swav_ray.plan.estimate import Images, crop_rate, read_data, work_of
from swav_ray.recipes import swav_100ep

RATES = read_data("rates.yaml")
PRICES = read_data("prices.yaml")
KNOWN = machines(PRICES)
CONFIG = replace(swav_100ep(), train={"precision": "bf16"})


def of(*nodes: str, spot: Spot | None = None) -> Cost:
    return cost(CONFIG, parse_nodes(nodes, KNOWN), Images(), spot, RATES, PRICES)


def test_a_run_costs_its_hours_on_all_its_machines_and_the_head() -> None:
    found = of("p4d.24xlarge:2", "c6id.8xlarge:3")
    machines_hourly = 2 * KNOWN["p4d.24xlarge"].on_demand + 3 * KNOWN["c6id.8xlarge"].on_demand
    assert found.dollars_per_hour == pytest.approx(machines_hourly + KNOWN[PRICES["head"]].on_demand)
    assert found.dollars == pytest.approx(found.hours * found.dollars_per_hour)
    steps = Images().count // CONFIG.train.global_batch_size
    images = steps * CONFIG.train.global_batch_size * CONFIG.train.epochs
    assert found.hours == pytest.approx(images / found.images_per_second / 3600)


def test_spot_machines_cost_less_and_take_longer_and_the_head_is_none() -> None:
    plain, spot = of("p4d.24xlarge:2"), of("p4d.24xlarge:2", spot=Spot(0.01, 5.0, 60.0))
    assert spot.interruptions is not None
    assert spot.hours == pytest.approx(plain.hours * (1 + spot.interruptions.share_with_notice))
    assert spot.dollars_per_hour == pytest.approx(2 * KNOWN["p4d.24xlarge"].spot + KNOWN[PRICES["head"]].on_demand)


def test_only_machines_that_train_interrupt_the_run() -> None:
    spot = Spot(0.01, 5.0, 60.0)
    few, many = of("p4d.24xlarge:2", spot=spot), of("p4d.24xlarge:2", "c6id.8xlarge:8", spot=spot)
    assert few.interruptions is not None
    assert many.interruptions is not None
    assert few.interruptions.between == many.interruptions.between


def test_the_crop_machines_that_are_wanted_keep_the_gpus_busy() -> None:
    config = replace(CONFIG, scaling={"cpus_per_worker": 11.8})  # of 12 vCPUs a GPU
    short = cost(config, parse_nodes(["p4d.24xlarge:4"], KNOWN), Images(), None, RATES, PRICES)
    assert short.bottleneck == "CPU crops"
    work, wanted = work_of(config, Images(), RATES), short.crop_machines_wanted
    missing = short.capacity.gpu - 4 * crop_rate(KNOWN["p4d.24xlarge"], config, work, RATES)
    each = crop_rate(KNOWN[PRICES["crops"]], config, work, RATES)
    assert wanted >= 1
    assert (wanted - 1) * each < missing <= wanted * each


def test_fewer_images_than_a_batch_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"--images = 100: must be at least train\.global_batch_size"):
        cost(CONFIG, parse_nodes(["p5.48xlarge:1"], KNOWN), Images(count=100), None, RATES, PRICES)


def test_a_price_list_without_its_own_head_is_named() -> None:
    with pytest.raises(ConfigError, match="--prices = 'none': is named as head or crops"):
        cost(CONFIG, parse_nodes(["p5.48xlarge:1"], KNOWN), Images(), None, RATES, {**PRICES, "head": "none"})


def test_an_incomplete_price_is_named() -> None:
    with pytest.raises(ConfigError, match=r"machines\.x.*needs gpu, gpus"):
        machines({"machines": {"x": {"gpu": "L4"}}})
