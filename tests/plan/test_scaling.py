"""A step at many GPUs: its parts add up, and its collectives are those of the network."""

from __future__ import annotations

import pytest

from swav_ray.config import ConfigError, replace
from swav_ray.plan import __main__ as plan
from swav_ray.plan.estimate import read_data
from swav_ray.plan.scaling import buckets, collectives, network_of, published, scaled
from swav_ray.recipes import swav_200ep, swav_200ep_bs256

RATES = read_data("rates.yaml")
CONFIG = replace(swav_200ep(), train={"precision": "bf16"})


def test_buckets_hold_every_gradient_once() -> None:
    network = network_of(CONFIG)
    sizes = buckets(network)
    assert sum(sizes) == 4 * sum(parameter.numel() for parameter in network.parameters())
    assert all(size >= 25 << 20 for size in sizes[1:-1])


def test_a_resnet50_has_53_norms_seen_at_two_resolutions_and_one_in_the_head() -> None:
    found = {kind.what: kind for kind in collectives(CONFIG, 64)}
    assert found["BatchNorm"].count == 2 * (53 * 2 + 1)
    assert found["Sinkhorn"].count == 6
    assert {kind.what: kind.count for kind in published(CONFIG)}["Sinkhorn"] == 8


def test_parts_within_a_worker_need_no_collective_for_statistics_but_one() -> None:
    config = replace(CONFIG, train={"batchnorm_groups": 512})
    assert "BatchNorm" not in {kind.what for kind in collectives(config, 64)}
    assert "BatchNorm" in {kind.what for kind in collectives(config, 4096)}


def test_a_queue_is_gathered_once() -> None:
    found = {kind.what: kind for kind in collectives(swav_200ep_bs256(), 4)}
    assert (found["queue"].count, found["queue"].bytes) == (1, 4 * 64 * 2 * 128)


@pytest.mark.parametrize("gpus", [1, 8, 64, 512])
def test_the_parts_of_a_step_add_up(gpus: int) -> None:
    step = scaled(CONFIG, "H100", gpus, 400, RATES)
    assert step.seconds >= step.compute + step.gradients - step.hidden + step.small
    assert 0 <= step.hidden <= step.gradients
    assert step.images_per_second == pytest.approx(4096 / step.seconds)
    assert step.efficiency <= 1 + 1e-9


def test_more_gpus_are_faster_and_each_does_less() -> None:
    steps = [scaled(CONFIG, "H100", gpus, 400, RATES) for gpus in (8, 64, 512)]
    rates = [step.images_per_second for step in steps]
    assert rates == sorted(rates)
    shares = [step.efficiency for step in steps]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize(("gpu", "gpus", "named"), [("H1000", 8, "--gpu"), ("H100", 8192, "--gpus")])
def test_what_cannot_be_is_one_line(gpu: str, gpus: int, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        scaled(CONFIG, gpu, gpus, 400, RATES)


def test_the_command_prints_both_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan.main(["scaling", "--gpus", "8", "64", "--train.precision", "bf16"]) == 0
    printed = capsys.readouterr().out
    assert "Sinkhorn" in printed
    assert "not measured: H100" in printed
    assert plan.main(["scaling", "--gpu", "none"]) == 2
