"""`python tune_spaces/NAME.py [--recipe R] [--num-samples N] ... [--section.field VALUE ...]`: reads it, and sweeps."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import Any

from swav_ray import command_line, settings
from swav_ray.command_line import Parser, whole_number
from swav_ray.config import ConfigError
from swav_ray.launch.sweep.space import Space, describe
from swav_ray.launch.sweep.sweep import sweep
from swav_ray.report.complaint import complain
from swav_ray.storage.place import PlaceError


def main(space: Space, arguments: Sequence[str] | None = None, **defaults: Any) -> int:
    """A search space's command.

    Args:
        space: what `sweep` takes.
        arguments: of the command line.
        defaults: keywords of `sweep` that the space sets, `recipe` (a name) and `name` among them.

    Returns:
        The exit status. 0: done. 2: the user's mistake, printed in one line. 1: the sweep failed. 128 plus a signal's
        number: the signal ended it.
    """
    try:
        keywords = parse(space, sys.argv[1:] if arguments is None else arguments, defaults)
    except (ValueError, OSError) as error:
        return complain(error)
    try:
        sweep(space=space, **keywords)
    except KeyboardInterrupt as error:
        return 128 + getattr(error, "number", signal.SIGINT)
    except (ConfigError, PlaceError, settings.UnknownSetting, OSError) as error:
        return complain(error)
    return 0


def parse(space: Space, arguments: Sequence[str], defaults: dict[str, Any]) -> dict[str, Any]:
    """Keywords of `sweep`: `defaults`, and over them the arguments; `recipe` is a config.

    Raises:
        ValueError, OSError: an argument is wrong, or the file of `--config` cannot be read.
    """
    options = vars(command_line.read(_parser(space, defaults), arguments))
    config = options.pop("config")
    return {**options, "recipe": config}


def _parser(space: Space, defaults: dict[str, Any]) -> Parser:
    parser = Parser(
        prog="python tune_spaces/NAME.py",
        description="space:\n" + "\n".join(f"  {name}: {domain}" for name, domain in describe(space).items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_config(default=defaults["recipe"])

    def add(option: str, doc: str, **how: Any) -> None:
        shown = " (default: %(default)s)" if option[2:].replace("-", "_") in defaults else ""
        parser.add_argument(option, help=doc + shown, **how)

    add("--num-samples", "number of trials", type=whole_number)
    add("--objective", "auto, knn, rankme, agreement, information; or several, images and pixels too", nargs="+")
    add("--searcher", "random, grid or optuna")
    add("--scheduler", "asha, median, pbt or none")
    add("--grace-epochs", "epochs before a trial may be stopped; 0: an eighth, at least 3", type=whole_number)
    add("--concurrent", "trials at a time; 0: as many as fit", type=whole_number)
    add("--seed", "seed of the values drawn", type=whole_number)
    add("--name", "name of the sweep and of its directory")
    parser.set_defaults(**defaults)
    return parser
