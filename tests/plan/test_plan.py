"""The plan on paper: it meets the published figures, its formulas meet a simulation, and a wrong word gets one line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml

from swav_ray.config import ConfigError, CropsConfig, replace
from swav_ray.plan import __main__ as cluster
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
from swav_ray.recipes import RECIPES, swav_200ep, swav_200ep_bs256

RATES = read_data("rates.yaml")
PRICES = read_data("prices.yaml")
V100S = Machine("8 V100", "V100", 8, 80, 100, 0, 0)


def test_the_simulation_reproduces_the_published_64_gpu_epoch() -> None:
    seconds = simulate.epoch_seconds(simulate.published(RATES), 1_281_167, 4096)
    assert seconds == pytest.approx(220, rel=0.25)


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


def test_where_crops_are_short_the_simulation_waits_for_them() -> None:
    hardware = simulate.Hardware(gpus=8, gpu_rate=100, crop_rate=400, communication=0.01, spread=0.02)
    assert simulate.epoch_seconds(hardware, 100_000, 1000) == pytest.approx(100_000 / 400, rel=0.03)


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


def test_without_interruptions_nothing_is_lost() -> None:
    found = interruptions(8, 0, 10, 60, 600)
    assert (found.share_with_notice, found.share_without_notice) == (0, 0)


def run(*words: str) -> int:
    return cluster.main(list(words))


def test_a_plan_names_hours_dollars_and_what_nobody_measured(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["cost", "--recipe", "swav_100ep", "--nodes", "p4d.24xlarge:2", "--train.precision", "bf16"]
    assert run(*words, "--json") == 0
    plain = json.loads(capsys.readouterr().out)
    assert run(*words, "--spot", "--json") == 0
    spot = json.loads(capsys.readouterr().out)
    assert spot["dollars"] < plain["dollars"]
    assert spot["hours"] > plain["hours"]
    assert plain["interruptions"] is None
    assert plain["dollars"] == pytest.approx(plain["hours"] * plain["dollars_per_hour"])
    assert any("A100-40GB" in note for note in plain["capacity"]["unmeasured"])
    assert run(*words, "--spot") == 0
    table = capsys.readouterr().out
    assert "not measured: A100-40GB" in table
    assert str(PRICES["date"]) in table
    assert "Young, Daly" in table


def test_every_recipe_and_every_machine_can_be_planned(capsys: pytest.CaptureFixture[str]) -> None:
    for recipe in RECIPES:
        assert run("cost", "--recipe", recipe, "--nodes", "g5.2xlarge:2") == 0
    for name, machine in cluster.machines(PRICES).items():
        assert run("cost", "--nodes", f"{name}:1") == (0 if machine.gpus else 2)
        assert machine.gpu in ("", *RATES["gpus"])
        assert machine.spot < machine.on_demand
    capsys.readouterr()


def test_own_prices_and_rates_are_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prices = {**PRICES, "machines": {**PRICES["machines"]}}
    prices["machines"]["mine"] = {
        "gpu": "V100", "gpus": 2, "vcpus": 16, "network": 10, "on_demand": 1.0, "spot": 0.5,
    }  # fmt: skip
    (tmp_path / "prices.yaml").write_text(yaml.safe_dump(prices))
    assert run("cost", "--nodes", "mine:1", "--prices", str(tmp_path / "prices.yaml"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["dollars_per_hour"] == pytest.approx(1.19)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cost", "--nodes", "g6.2xlage:8"], "no such machine; did you mean g6.2xlarge?"),
        (["cost", "--nodes", "g6.2xlarge"], "must be TYPE:COUNT"),
        (["cost", "--nodes", "c6id.8xlarge:2"], "names no machine with a GPU"),
        (["cost", "--nodes", "p5.48xlarge:8", "--recipe", "swav_20ep"], "did you mean swav_200ep?"),
        (["cost", "--nodes", "p5.48xlarge:8", "--train.epoch", "3"], "did you mean train.epochs?"),
        (["cost", "--nodes", "p5.48xlarge:8", "--images", "100"], "must be at least train.global_batch_size (4096)"),
        (["cost", "--nodes", "p5.48xlarge:64", "--recipe", "cifar"], "must be at least 512, the number of GPUs"),
        (["cost", "--nodes", "p5.48xlarge:8", "--prices", "/nowhere"], "cannot be read"),
        (["check", "--rates", "WRONG"], "has no section gpus"),
    ],
)
def test_a_wrong_word_is_one_line_and_status_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("a: 1\n")
    assert run(*[str(wrong) if word == "WRONG" else word for word in words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_check_prints_both_figures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("check") == 0
    assert "3 min 40 s" in capsys.readouterr().out
    rates = {**RATES, "gpus": {**RATES["gpus"], "V100": {**RATES["gpus"]["V100"], "images_per_second": 60}}}
    (tmp_path / "rates.yaml").write_text(yaml.safe_dump(rates))
    assert run("check", "--rates", str(tmp_path / "rates.yaml")) == 1


def test_an_incomplete_price_is_named() -> None:
    with pytest.raises(ConfigError, match=r"machines\.x.*needs gpu, gpus"):
        cluster.machines({"machines": {"x": {"gpu": "L4"}}})
