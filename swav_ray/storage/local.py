"""Files of a local file system: read, listed, and replaced whole or not at all."""

from __future__ import annotations

import errno
import functools
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_PART = ".part"
_PAGE = 1000  # files of a walk that are given together


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


class Walk:
    """Every file below ``root``, recursively, by its name relative to it, some at a time; none if it is no folder.

    Symbolic links are followed, unless they lead to a folder that they lie in. Iterate once.

    Args:
        root: a path.
        dangling: gets the name of each link that leads nowhere, or to itself.
        state: of an earlier walk, which this one continues.
    """

    def __init__(self, root: str, dangling: Callable[[str], None], state: list[str] | None = None) -> None:
        self._root, self._dangling = root, dangling
        self._real = functools.lru_cache(maxsize=64)(lambda below: os.path.realpath(os.path.join(root, below)))
        self._folders = [""] if state is None else list(state)  # not yet walked; each ends in a slash
        self._is_inside = False

    def state(self) -> list[str] | None:
        """The folders that come after the files given so far; None in the middle of a folder."""
        return None if self._is_inside else list(self._folders)

    def __len__(self) -> int:
        return len(self._folders)

    def __iter__(self) -> Iterator[list[tuple[str, os.stat_result]]]:
        while self._folders:
            below = self._folders.pop()
            self._is_inside = True
            page: list[tuple[str, os.stat_result]] = []
            for file in self._files(below):
                if len(page) == _PAGE:
                    yield page
                    page = []
                page.append(file)
            self._is_inside = False
            yield page

    def _files(self, below: str) -> Iterator[tuple[str, os.stat_result]]:
        """The files of one folder; the folders in it are noted for later."""
        if self._is_above(below):
            return
        try:
            found = os.scandir(os.path.join(self._root, below))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            return
        with found:
            for item in found:
                name = f"{below}{item.name}"
                try:
                    if item.is_dir():
                        self._folders.append(f"{name}/")
                    elif item.is_file():
                        yield name, item.stat()
                    elif item.is_symlink() and not os.path.exists(item.path):
                        self._dangling(name)
                except OSError as error:
                    if error.errno != errno.ELOOP:
                        raise
                    self._dangling(name)

    def _is_above(self, below: str) -> bool:
        """Whether a folder is one that it lies in, by a link."""
        real = self._real(below)
        parts = below.split("/")[:-1]
        return any(real == self._real("".join(f"{part}/" for part in parts[:depth])) for depth in range(len(parts)))
