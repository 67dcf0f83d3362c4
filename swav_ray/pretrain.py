"""`python -m swav_ray.pretrain [RECIPE] [--section.field VALUE ...] [--config FILE]`: parse, validate, train.

From Python the same is `swav_ray.pretrain(config)`. That name is this module too, so the module can be called.
"""

from __future__ import annotations

import signal
import sys
import types
from collections.abc import Sequence
from typing import Any

from swav_ray import command_line, settings
from swav_ray.config import Config, ConfigError
from swav_ray.recipes import RECIPES
from swav_ray.report.complaint import complain
from swav_ray.storage.place import PlaceError

USAGE = "python -m swav_ray.pretrain [RECIPE] [--section.field VALUE ...] [--config FILE]"


def parse(arguments: Sequence[str]) -> Config:
    """The config of a command line; raises ValueError or OSError, one line, when an argument is wrong."""
    parser = command_line.Parser(prog="python -m swav_ray.pretrain", add_help=False)
    parser.add_config(recipe="recipe", default="quickstart")
    config: Config = command_line.read(parser, arguments).config
    return config


def show_help(arguments: Sequence[str]) -> None:
    """Prints the usage, the recipes and every setting with the defaults of the recipe in `arguments`."""
    named = next((argument for argument in arguments if argument in RECIPES), "quickstart")
    print(f"usage: {USAGE}\n\nrecipes (default quickstart):")
    for name, recipe in RECIPES.items():
        print(f"  {name:20} {(recipe.__doc__ or '').splitlines()[0]}")
    print(f"\nsettings, with the defaults of {named}:")
    print(settings.help_text(RECIPES[named]()))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command.

    Returns:
        0 done, or stopped by a first signal; 2 the user's mistake; 1 the run failed; 128 and the signal's number when a
        signal ended it at once.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if "-h" in arguments or "--help" in arguments:
        show_help(arguments)
        return 0
    try:
        config = parse(arguments)
    except (ValueError, OSError) as error:
        return complain(error)
    try:
        # Imported here: Ray takes seconds to import, and a wrong argument should be reported at once.
        from swav_ray.launch.train import train
        from swav_ray.launch.workers import RunFailed

        train(config)
    except KeyboardInterrupt as error:
        return 128 + getattr(error, "number", signal.SIGINT)
    except (ConfigError, PlaceError, RunFailed, settings.UnknownSetting, OSError) as error:
        return complain(error)
    return 0


class _CallableModule(types.ModuleType):
    """`swav_ray.pretrain(config)`, whether or not something has imported this module before."""

    def __call__(self, config: Config) -> dict[str, Any] | None:
        """Trains until done or stopped; what `swav_ray.launch.train.train` returns and raises."""
        from swav_ray.launch.train import train

        return train(config)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    sys.exit(main())
