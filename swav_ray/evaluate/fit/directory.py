"""The directory of an evaluation that trains: a run directory, with `evaluation.json` instead of a config.

`evaluation.json` says of what it is. Another evaluation there, or files that no evaluation wrote, are an error: nothing
is ever resumed from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.results.protocol import Result
from swav_ray.run.layout import LEASE
from swav_ray.storage.place import Place

ABOUT = "evaluation.json"
_NAMED = ("protocol", "version", "hash", "settings", "weights", "train", "val", "preprocessing")


def about(result: Result) -> dict[str, Any]:
    """What an evaluation is of: protocol with every setting, weights, images, preprocessing. As JSON holds it."""
    document: dict[str, Any] = json.loads(json.dumps(result.document()))
    return {name: document[name] for name in _NAMED}


def claim(folder: Place, wanted: Mapping[str, Any]) -> bool:
    """Makes a directory this evaluation's, unless it is already; whether it was.

    Args:
        wanted: from `about`.

    Raises:
        EvaluationError: the directory holds another evaluation, or something else.
    """
    file = folder / ABOUT
    if file.exists():
        differs = _difference(_read(file), wanted)
        if differs:
            raise EvaluationError(f"{folder}: holds another evaluation ({differs}); give another --out or delete it")
        return True
    if other := next((entry.name for entry in folder.list() if entry.name != LEASE), None):
        raise EvaluationError(f"{folder}: holds {other}, which no evaluation of this kind wrote; give another --out")
    file.write_bytes(json.dumps(wanted, indent=1).encode())
    return False


def _read(file: Place) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise EvaluationError(f"{file}: is damaged or no evaluation's; give another --out or delete it")
    return found


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The first thing that differs, in words; empty if nothing does."""
    for name in _NAMED:
        if name == "hash" or found.get(name) == wanted[name]:
            continue
        if not isinstance(wanted[name], dict) or not isinstance(found.get(name), dict):
            return f"{name} {found.get(name)}, now {wanted[name]}"
        keys = found[name].keys() | wanted[name].keys()
        key = next(key for key in sorted(keys) if found[name].get(key) != wanted[name].get(key))
        return f"{name}: {key} {found[name].get(key)}, now {wanted[name].get(key)}"
    return ""
