"""`python -m swav_ray.pretrain [RECIPE] [--section.field VALUE ...] [--config FILE]`: parse, validate, train."""

from __future__ import annotations

import difflib
import signal
import sys
from collections.abc import Sequence

from swav_ray import settings
from swav_ray.config import Config, ConfigError
from swav_ray.recipes import RECIPES
from swav_ray.report.complaint import complain
from swav_ray.storage.place import PlaceError

USAGE = "python -m swav_ray.pretrain [RECIPE] [--section.field VALUE ...] [--config FILE]"


def parse(words: Sequence[str]) -> Config:
    """The config of a command line; raises ValueError with one line where a name or a value is wrong."""
    rest = list(words)
    recipe = rest.pop(0) if rest and not rest[0].startswith("-") else ""
    if recipe and recipe not in RECIPES:
        near = difflib.get_close_matches(recipe, RECIPES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(RECIPES)}"
        raise ValueError(f"{recipe}: no such recipe; {hint}")
    config = RECIPES[recipe or "quickstart"]()
    file, rest = _config_file(rest)
    if file:
        config = settings.from_file(file, config)
    return settings.with_values(config, settings.parse_words(rest))


def _config_file(words: list[str]) -> tuple[str, list[str]]:
    for index, word in enumerate(words):
        if word == "--config":
            if index + 1 == len(words):
                raise ConfigError("--config", "", "needs a file")
            return words[index + 1], words[:index] + words[index + 2 :]
        if word.startswith("--config="):
            return word.partition("=")[2], words[:index] + words[index + 1 :]
    return "", words


def show_help(words: Sequence[str]) -> None:
    """Prints the usage, the recipes and every setting with the defaults of the recipe in `words`."""
    named = next((word for word in words if word in RECIPES), "quickstart")
    print(f"usage: {USAGE}\n\nrecipes (default quickstart):")
    for name, recipe in RECIPES.items():
        print(f"  {name:20} {(recipe.__doc__ or '').splitlines()[0]}")
    print(f"\nsettings, with the defaults of {named}:")
    print(settings.help_text(RECIPES[named]()))


def main(words: Sequence[str] | None = None) -> int:
    """The command.

    Returns:
        0 done, or stopped by a first signal; 2 the user's mistake; 1 the run failed; 128 and the signal's number when a
        signal ended it at once.
    """
    words = list(sys.argv[1:] if words is None else words)
    if "-h" in words or "--help" in words:
        show_help(words)
        return 0
    try:
        config = parse(words)
    except (ValueError, OSError) as error:
        return complain(error)
    try:
        # Imported here: Ray takes seconds to import, and a wrong argument should be reported at once.
        from swav_ray.launch.train import RunFailed, train

        train(config)
    except KeyboardInterrupt as error:
        return 128 + getattr(error, "number", signal.SIGINT)
    except (ConfigError, PlaceError, RunFailed, OSError) as error:
        return complain(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
