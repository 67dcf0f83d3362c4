"""The files of a run's checkpoints, read whole and verified. Knows nothing of what is in them."""

from __future__ import annotations

import hashlib
import json

from swav_ray.run import layout
from swav_ray.storage.errors import StorageUnavailable
from swav_ray.storage.place import Place


class BadCheckpoint(ValueError):
    """A checkpoint that cannot be used: the message names it and what is wrong."""


def steps(run_dir: Place) -> list[int]:
    """Steps of the complete checkpoints, oldest first."""
    found = (layout.checkpoint_step(entry.name) for entry in (run_dir / layout.CHECKPOINTS).list())
    return sorted(step for step in found if step is not None)


def read(folder: Place) -> dict[str, bytes]:
    """The files of a checkpoint by name, as its manifest has them.

    Raises:
        BadCheckpoint: the manifest or a file is missing, or differs from the size and checksum in the manifest.
        StorageUnavailable: the storage does not answer.
    """
    try:
        sums = json.loads((folder / layout.CHECKPOINT_MANIFEST).read_bytes())
        files = {name: (folder / name).read_bytes() for name in sums}
        expected = {name: (entry["size"], entry["sha256"]) for name, entry in sums.items()}
    except StorageUnavailable:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        # A flipped bit in a manifest may make anything of it, and a failing disk answers with many an error.
        raise BadCheckpoint(f"{folder}: {type(error).__name__}: {error}") from None
    for name, data in files.items():
        if (len(data), hashlib.sha256(data).hexdigest()) != expected[name]:
            raise BadCheckpoint(f"{folder / name}: differs from the size or checksum in {layout.CHECKPOINT_MANIFEST}")
    if absent := {layout.MODEL, layout.TRAINING, layout.META} - files.keys():
        raise BadCheckpoint(f"{folder}: {layout.CHECKPOINT_MANIFEST} does not name {', '.join(sorted(absent))}")
    return files
