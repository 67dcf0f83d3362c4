"""The command: a table or JSON, the user's own prices, and one line for a mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from swav_ray.plan import __main__ as command
from swav_ray.plan.cost import machines
from swav_ray.plan.estimate import read_data
from swav_ray.recipes import RECIPES

RATES = read_data("rates.yaml")
PRICES = read_data("prices.yaml")


def run(*arguments: str) -> int:
    return command.main(list(arguments))


def test_a_plan_names_hours_dollars_and_what_nobody_measured(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["cost", "--recipe", "swav_100ep", "--nodes", "p4d.24xlarge:2", "--train.precision", "bf16"]
    assert run(*arguments, "--json") == 0
    plain = json.loads(capsys.readouterr().out)
    assert run(*arguments, "--spot", "--json") == 0
    spot = json.loads(capsys.readouterr().out)
    assert spot["dollars"] < plain["dollars"]
    assert spot["hours"] > plain["hours"]
    assert plain["interruptions"] is None
    assert plain["dollars"] == pytest.approx(plain["hours"] * plain["dollars_per_hour"])
    assert any("A100-40GB" in note for note in plain["capacity"]["unmeasured"])
    assert run(*arguments, "--spot") == 0
    table = capsys.readouterr().out
    assert "not measured: A100-40GB" in table
    assert str(PRICES["date"]) in table
    assert "Young, Daly" in table


def test_every_recipe_and_every_machine_can_be_planned(capsys: pytest.CaptureFixture[str]) -> None:
    for recipe in RECIPES:
        assert run("cost", "--recipe", recipe, "--nodes", "g5.2xlarge:2") == 0
    for name, machine in machines(PRICES).items():
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
    ("arguments", "said"),
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
        (["data", "--images", "0"], "not a positive whole number, such as 1281167 or 1e9"),
        (["data", "--images", "1e2"], "must be at least train.global_batch_size (4096)"),
        (["data", "--image-kb", "0"], "must be above 0"),
        (["data", "--nodes", "p3:8"], "no such machine"),
    ],
)
def test_a_wrong_argument_is_one_line_and_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("a: 1\n")
    assert run(*[str(wrong) if argument == "WRONG" else argument for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_plan_of_a_data_set_has_a_column_for_each_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "--images", "1e6", "1_000_000_000", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["images"] for one in found["data_sets"]] == [10**6, 10**9]
    assert [reads["block"] for reads in found["data_sets"][1]["reads"]] == [0, 0, 16, 64]
    assert found["data_sets"][1]["advice"]
    assert run("data", "--data.shuffle_block", "32") == 0
    table = capsys.readouterr().out
    assert "shuffle_block 32" in " ".join(table.split())
    assert "measured: benchmarks/scale.py" in table
    assert "assumed: prices are examples" in table


def test_check_prints_both_figures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("check") == 0
    assert "3 min 40 s" in capsys.readouterr().out
    rates = {**RATES, "gpus": {**RATES["gpus"], "V100": {**RATES["gpus"]["V100"], "images_per_second": 60}}}
    (tmp_path / "rates.yaml").write_text(yaml.safe_dump(rates))
    assert run("check", "--rates", str(tmp_path / "rates.yaml")) == 1
