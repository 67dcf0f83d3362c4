"""Weights by their name: a run directory, a checkpoint, a file, or a repository of the Hugging Face Hub."""

from __future__ import annotations

from dataclasses import dataclass

from swav_ray.run.about import About
from swav_ray.storage.place import Place, place
from swav_ray.weights import hub, ours
from swav_ray.weights.read import Stored, stored


@dataclass(frozen=True)
class Opened:
    """A file of weights, read.

    Attributes:
        name: of the file: its place, or its name on the Hub with the revision.
        content: its tensors, header and checksum.
        about: what its header and its run say of it; empty for other people's.
    """

    name: str
    content: Stored
    about: About


def open_weights(where: str | Place, which: str = "newest") -> Opened:
    """Reads the file of weights that a name stands for.

    Args:
        where: a local path or s3://bucket/key of a run directory, a checkpoint or a file; or
            hf://organisation/name[/file][@revision].
        which: of a run's checkpoints: "newest", or "best" by its kNN accuracy.

    Raises:
        WeightsError: there are no weights, or the file is damaged, of another kind, or wants to run code.
        PlaceError: the place is of an unknown kind. StorageUnavailable: it does not answer.
    """
    if isinstance(where, str) and where.startswith(hub.SCHEME):
        name, data = hub.fetch(where)
        about = About()
    else:
        file, data, about = ours.find(where if isinstance(where, Place) else place(where), which)
        name = str(file)
    content = stored(data, name)
    # What the run directory says comes first: it may have been moved since the header was written.
    return Opened(name, content, about.over(About.of_header(content.metadata)))


def absolute(where: str) -> str:
    """The same name for a process that runs in another folder; '' stays ''. Raises PlaceError."""
    return where if not where or where.startswith(hub.SCHEME) else place(where).uri
