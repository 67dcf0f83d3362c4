"""The arguments of a command: its own options, and a config as `[RECIPE] [--config FILE] [--section.field VALUE ...]`.

Every command's arguments are read here, so that a recipe, a file and a setting mean the same to all of them. Knows
nothing of what a command does.
"""

from __future__ import annotations

import argparse
import difflib
import math
from collections.abc import Sequence
from typing import Any, NoReturn

from swav_ray import recipes, settings
from swav_ray.config import Config


class WrongArgument(ValueError):
    """An argument that cannot be: the message, one line, names it and says what would be right."""


class Parser(argparse.ArgumentParser):
    """argparse whose mistakes are a WrongArgument instead of a usage, a message and an exit. Subcommands included."""

    def __init__(self, **keywords: Any) -> None:
        self._names: list[str] = []
        super().__init__(**keywords, allow_abbrev=False)
        self.set_defaults(parser=self)  # of the subcommand, when there are some

    def add_argument(self, *names: Any, **keywords: Any) -> argparse.Action:
        action = super().add_argument(*names, **keywords)
        self._names += action.option_strings
        return action

    def add_config(self, *, recipe: str = "--recipe", default: str) -> None:
        """Lets the command take a config.

        Args:
            recipe: "recipe": the first argument that is no option; "--recipe": an option.
            default: name of the recipe when none is given.
        """
        doc = "recipe to start from (default: %(default)s)"
        if recipe.startswith("-"):
            self.add_argument(recipe, metavar="RECIPE", default=default, help=doc)
        else:
            self.add_argument(recipe, metavar="RECIPE", nargs="?", default=default, help=doc)
        doc = "YAML file of settings on top of the recipe, as a run's config.yaml (a place)"
        self.add_argument("--config", metavar="FILE", default="", help=doc)
        self.epilog = "--section.field VALUE changes a setting, as in `python -m swav_ray.pretrain`"

    def add_settings(self, *names: str) -> None:
        """Lets the command take some settings of a run, in `options.config`: of whole sections, or one by one."""
        self.set_defaults(settings=names)
        self.epilog = f"--section.field VALUE changes a setting, as in pretraining: {', '.join(names)}"

    def error(self, message: str) -> NoReturn:
        raise WrongArgument(message)

    def refuse(self, argument: str) -> NoReturn:
        """Raises WrongArgument or UnknownSetting for an argument that there is not, with the nearest that there is."""
        option = argument.partition("=")[0]
        if not option.startswith("--"):
            raise WrongArgument(f"{argument}: is not expected here; see --help")
        # Without the dashes, which would make short names alike.
        if near := difflib.get_close_matches(option[2:], [name[2:] for name in self._names], n=1):
            raise WrongArgument(f"{option}: no such option; did you mean --{near[0]}?")
        if "--config" in self._names:
            settings.parse_arguments([argument])
        raise WrongArgument(f"{option}: no such option; see --help")


def read(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line, `config` among them if the command takes one: recipe, then file, then settings.

    Raises WrongArgument, ConfigError, UnknownSetting, OSError: something given is wrong or cannot be read.
    """
    own, of_config = _split(arguments)
    options, unknown = parser.parse_known_args(own)
    if unknown:
        options.parser.refuse(unknown[0])
    del options.parser
    if "recipe" in options:
        config = recipes.by_name(options.recipe)
        if options.config:
            config = settings.from_file(options.config, config)
        options.config = settings.with_values(config, settings.parse_arguments(of_config))
    elif "settings" in options:
        options.config = _some_settings(of_config, options.settings)
        del options.settings
    elif of_config:
        raise WrongArgument(f"{of_config[0]}: this command takes no settings; see --help")
    return options


def _some_settings(of_config: Sequence[str], known: Sequence[str]) -> Config:
    """The default config with settings of these sections or names changed."""
    values = settings.parse_arguments(of_config)
    for name in values:
        if name not in known and name.partition(".")[0] not in known:
            raise WrongArgument(f"--{name}: this command takes no such setting, only those of {', '.join(known)}")
    return settings.with_values(Config(), values)


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command's own arguments, and those of settings: a name with a dot and the values that follow it."""
    own: list[str] = []
    of_config: list[str] = []
    sink = own
    for argument in arguments:
        if argument.startswith("--") or argument == "-h":
            sink = of_config if "." in argument.partition("=")[0] else own
        sink.append(argument)
    return own, of_config


def at_least_one(text: str) -> int:
    """A count, for `type=`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def whole_number(text: str) -> int:
    """A number without a fraction, for `type=`."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def not_negative(text: str) -> float:
    """A finite number of 0 or more, for `type=`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return value
