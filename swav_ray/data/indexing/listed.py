"""When a place was last listed: a small file beside its cached manifest, which does not change if the place has not."""

from __future__ import annotations

import json
import time

from swav_ray.storage.place import Place


def note(manifest: Place, when: float) -> None:
    """The place was as this cached manifest says at that time, in Unix seconds."""
    _beside(manifest).write_bytes(json.dumps({"time": when}).encode())


def age(manifest: Place) -> str:
    """How long ago its place was listed, in words; empty if that is not known."""
    try:
        return how_long_ago(float(json.loads(_beside(manifest).read_bytes())["time"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return ""


def how_long_ago(when: float) -> str:
    """In hours or days, from Unix seconds."""
    hours = (time.time() - when) / 3600
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def _beside(manifest: Place) -> Place:
    return manifest.parent / f"{manifest.name.removesuffix('.parquet')}.listed.json"
