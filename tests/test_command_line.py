"""What every command makes of its arguments: its own options, and a config from recipe, file and settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.command_line import Parser, at_least_one, not_negative, read, whole_number
from swav_ray.config import Config, replace
from swav_ray.recipes import cifar, quickstart


def command() -> Parser:
    """A command with an option and a recipe of its own in one subcommand, and neither in the other."""
    parser = Parser(prog="x")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train")
    train.add_config(default="quickstart")
    train.add_argument("--samples", type=at_least_one, default=8)
    train.add_argument("place")
    commands.add_parser("list").add_argument("place")
    return parser


def test_settings_stand_anywhere_after_the_places_and_come_last(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("train: {epochs: 60, max_refused_steps: 5}\n")
    arguments = ["train", "here", "--train.epochs", "70", "--recipe", "cifar", "--crops.sizes", "24", "--samples", "2"]
    options = read(command(), [*arguments, "--config", str(tmp_path / "c.yaml")])
    assert (options.place, options.samples) == ("here", 2)
    expected = replace(cifar(), train={"epochs": 70, "max_refused_steps": 5}, crops={"sizes": (24,)})
    assert options.config == expected


def test_a_negative_number_is_a_value_of_its_setting() -> None:
    with pytest.raises(ValueError, match=r"^optim.base_lr = -1.0: must be above 0$"):
        read(command(), ["train", "here", "--optim.base_lr", "-1"])


def test_without_arguments_it_is_the_commands_own_recipe() -> None:
    assert read(command(), ["train", "here"]).config == quickstart()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("train here --sample 3", "--sample: no such option; did you mean --samples?"),
        ("train here --samples=none", "argument --samples: 'none' is not a positive whole number"),
        ("train here --lr 3", "lr: no such setting; did you mean optim.base_lr?"),
        ("train here there", "there: is not expected here; see --help"),
        ("train here --recipe cifa", "recipe = 'cifa': no such recipe; did you mean cifar?"),
        ("train here --config", "argument --config: expected one argument"),
        ("train", "the following arguments are required: place"),
        ("list here --crops.sizes 3", "--crops.sizes: this command takes no settings; see --help"),
        ("list here --recipe cifar", "--recipe: no such option; see --help"),
        ("lst here", "invalid choice: 'lst'"),
    ],
)
def test_a_wrong_argument_gets_one_line(arguments: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        read(command(), arguments.split())
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "valid", "wrong"),
    [
        (at_least_one, {"1": 1, "20": 20}, ("0", "-1", "1.5", "x")),
        (whole_number, {"0": 0, "-3": -3}, ("1.5", "x")),
        (not_negative, {"0": 0.0, "1.5": 1.5}, ("-1", "inf", "nan", "x")),
    ],
)
def test_numbers_are_what_they_must_be(kind: object, valid: dict[str, float], wrong: tuple[str, ...]) -> None:
    parser = Parser(prog="x")
    parser.add_argument("--n", type=kind)
    for argument, value in valid.items():
        assert read(parser, [f"--n={argument}"]).n == value
    for argument in wrong:
        with pytest.raises(ValueError, match=f"argument --n: '{argument}' is not a"):
            read(parser, [f"--n={argument}"])


def test_a_command_takes_the_settings_that_it_names_and_no_others() -> None:
    parser = Parser()
    parser.add_settings("scaling", "data.max_bad_fraction")
    options = read(parser, ["--scaling.num_workers", "2", "8", "--data.max_bad_fraction", "0.2"])
    assert options.config == replace(Config(), scaling={"num_workers": (2, 8)}, data={"max_bad_fraction": 0.2})
    assert "settings" not in options
    for name in ("--data.limit", "--optim.base_lr"):
        with pytest.raises(ValueError, match=rf"^{name}: this command takes no such setting, only those of scaling, "):
            read(parser, [name, "3"])
