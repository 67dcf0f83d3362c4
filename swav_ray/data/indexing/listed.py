"""When a place was last listed: a small file beside its cached manifest, which does not change if the place has not."""

from __future__ import annotations

import json
import time

from swav_ray.storage.place import Place


def note(manifest: Place) -> None:
    """The place of this cached manifest has been listed now."""
    _beside(manifest).write_bytes(json.dumps({"time": time.time()}).encode())


def age(manifest: Place) -> str:
    """How long ago its place was listed, in words; empty if that is not known."""
    try:
        hours = (time.time() - float(json.loads(_beside(manifest).read_bytes())["time"])) / 3600
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return ""
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def _beside(manifest: Place) -> Place:
    return manifest.parent / f"{manifest.name.removesuffix('.parquet')}.listed.json"
