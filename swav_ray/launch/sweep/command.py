"""`python tune_spaces/NAME.py [--recipe R] [--num-samples N] ... [--section.field VALUE ...]`: parse, sweep."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from swav_ray import settings
from swav_ray.config import ConfigError
from swav_ray.recipes import RECIPES
from swav_ray.report.complaint import complain
from swav_ray.storage.place import PlaceError

# Word, keyword of `sweep`, type, what it is.
_OPTIONS: list[tuple[str, str, type, str]] = [
    ("recipe", "recipe", str, "the recipe that trials start from"),
    ("num-samples", "num_samples", int, "number of trials"),
    ("objective", "objective", str, "auto, knn, rankme, agreement, information; more words: images or pixels"),
    ("searcher", "searcher", str, "random, grid or optuna"),
    ("scheduler", "scheduler", str, "asha, median, pbt or none"),
    ("grace-epochs", "grace_epochs", int, "epochs before a trial may be stopped; 0: an eighth of the run, at least 3"),
    ("concurrent", "concurrent", int, "trials at a time; 0: as many as fit"),
    ("seed", "seed", int, "of the values drawn"),
    ("name", "name", str, "of the sweep and its directory"),
]


def main(space: Any, words: Sequence[str] | None = None, **defaults: Any) -> int:
    """A search space's command; 0 done, 2 the user's mistake told in one line, 1 the sweep could not go on.

    Args:
        space: what `sweep` takes.
        words: of the command line.
        defaults: keywords of `sweep` that the space sets, `recipe` and `name` among them.
    """
    words = list(sys.argv[1:] if words is None else words)
    if "-h" in words or "--help" in words:
        return _help(space, defaults)
    try:
        keywords, rest = _parse(words)
        keywords = defaults | keywords
        keywords["recipe"] = _recipe(keywords["recipe"], rest)
    except ValueError as error:
        return complain(error)
    # Imported here: Ray takes seconds to import, and a wrong word should be told at once.
    from swav_ray.launch.sweep.sweep import sweep

    try:
        sweep(space=space, **keywords)
    except (ConfigError, PlaceError, settings.UnknownSetting, OSError) as error:
        return complain(error)
    return 0


def _recipe(name: str, rest: list[str]) -> Any:
    if name not in RECIPES:
        raise ConfigError("--recipe", name, f"must be one of {', '.join(RECIPES)}")
    return settings.with_values(RECIPES[name](), settings.parse_words(rest))


def _parse(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Keywords of `sweep`, and the words that are settings of the recipe."""
    known = {word: (keyword, kind) for word, keyword, kind, _ in _OPTIONS}
    keywords: dict[str, Any] = {}
    rest: list[str] = []
    position = 0
    while position < len(words):
        end = position + 1
        while end < len(words) and not words[end].startswith("--"):
            end += 1
        option, equals, attached = words[position].removeprefix("--").partition("=")
        given = [*([attached] if equals else []), *words[position + 1 : end]]
        if not words[position].startswith("--") or "." in option:
            rest += words[position:end]
        elif option not in known:
            raise ConfigError("argument", words[position], f"must be one of {', '.join(f'--{w}' for w in known)}")
        elif not given or (len(given) > 1 and option != "objective"):
            raise ConfigError(f"--{option}", " ".join(given), "needs one value")
        else:
            keyword, kind = known[option]
            keywords[keyword] = given if len(given) > 1 else _value(option, kind, given[0])
        position = end
    return keywords, rest


def _value(option: str, kind: type, word: str) -> Any:
    try:
        return kind(word)
    except ValueError:
        raise ConfigError(f"--{option}", word, "must be a whole number") from None


def _help(space: Any, defaults: dict[str, Any]) -> int:
    from swav_ray.launch.sweep.space import describe

    print("usage: python tune_spaces/NAME.py [option ...] [--section.field VALUE ...]\n\nspace:")
    for name, domain in describe(space).items():
        print(f"  {name}: {domain}")
    print("\noptions:")
    for word, keyword, _, doc in _OPTIONS:
        default = f"  [{defaults[keyword]}]" if keyword in defaults else ""
        print(f"  --{word:14} {doc}{default}")
    print("\nsettings of the recipe: as `python -m swav_ray.pretrain RECIPE --help` has them")
    return 0
