"""Files of a local file system: read, listed, and replaced whole or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_PART = ".part"


def read(path: str, offset: int, length: int | None) -> bytes:
    """``length`` bytes from ``offset``, or all that follow if None; fewer if the file ends before."""
    with open(path, "rb") as file:  # reads larger than its buffer go around it
        file.seek(offset)
        return file.read(-1 if length is None else length)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary neighbour of ``path`` that takes its name when the block has succeeded and its bytes are on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}{_PART}"
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_leftover(name: str) -> bool:
    """Whether a file's name is that of a local write cut short by a kill."""
    return os.path.basename(name).startswith(".") and name.endswith(_PART)


def walk(
    root: str, dangling: Callable[[str], None], below: str = "", above: frozenset[str] = frozenset()
) -> Iterator[tuple[str, os.stat_result]]:
    """Every file below ``root``, recursively, by its name relative to it; nothing if there is no such folder.

    Symbolic links are followed, unless they lead to a folder that they lie in. ``dangling`` is told of each link that
    leads nowhere, or to itself. ``below`` and ``above`` are the folder of this call, which ends in a slash, and the
    real paths of those around it.
    """
    real = os.path.realpath(os.path.join(root, below))
    if real in above:
        return
    try:
        found = os.scandir(os.path.join(root, below))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return
    folders = []
    with found:
        for item in found:
            name = f"{below}{item.name}"
            try:
                if item.is_dir():
                    folders.append(f"{name}/")
                elif item.is_file():
                    yield name, item.stat()
                elif item.is_symlink() and not os.path.exists(item.path):
                    dangling(name)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                dangling(name)
    for folder in folders:
        yield from walk(root, dangling, folder, above | {real})
