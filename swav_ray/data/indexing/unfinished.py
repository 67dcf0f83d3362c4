"""An index that is under way: its files on the node's disk and what they hold, for a later process to resume.

The journal says which files are finished, by their digests, and what was seen up to them. It is replaced at once, so a
process may be killed at any time. A folder has one process at a time, which holds a lock on it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from swav_ray.data.indexing.listed import how_long_ago
from swav_ray.storage.errors import PlaceError, StorageUnavailable
from swav_ray.storage.local import replacing

MOST_HOURS = 24  # after which the beginning of a listing is too old for its end

_FORMAT = 1  # of the journal, and of what it holds
_JOURNAL = "journal.json"
_PREFIX = "swav-ray-index-"

log = logging.getLogger("swav_ray.data")


@contextmanager
def unfinished_index(of: str) -> Iterator[UnfinishedIndex]:
    """What an earlier process left of this index, or a new one.

    It is removed if the block succeeds, or fails for what the place holds. Otherwise it waits for the next process.

    Args:
        of: names the place and all else that the listing depends on.
    """
    index = UnfinishedIndex(of)
    keep = True
    try:
        yield index
        keep = False
    except PlaceError as error:
        keep = isinstance(error, StorageUnavailable)
        raise
    finally:
        index.close(keep=keep)


class UnfinishedIndex:
    """The files of an index.

    Attributes:
        state: as `save` got it last, perhaps in an earlier process; None if nothing was saved.
        began: Unix seconds.
    """

    def __init__(self, of: str) -> None:
        self._of = of
        self.state: Any = None
        self.began = time.time()
        self._lock: int | None = None
        self._folder: Path | None = None
        self._digests: dict[str, str] = {}
        self._count = 0
        name = hashlib.sha256(f"{os.geteuid()}\n{of}".encode(errors="surrogateescape")).hexdigest()[:16]
        self._path = Path(tempfile.gettempdir(), f"{_PREFIX}{name}")
        if self._path.exists() and self._claim():
            self._resume()

    def next_file(self) -> Path:
        """A new file, which stays if it is named in the next `save`."""
        if self._folder is None and not self._claim():
            self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))  # another process indexes the same place
        self._count += 1
        return self.file(f"{self._count:06d}.arrow")

    def file(self, name: str) -> Path:
        """The file of this name in the folder."""
        assert self._folder is not None
        return self._folder / name

    def release(self, paths: Iterable[Path]) -> None:
        """Does nothing: the last `save` may name these files, and the next removes them."""

    def save(self, state: Any, files: Iterable[Path]) -> None:
        """Notes the state and the files that belong to it; the others are removed."""
        self.state = state
        paths = list(files)
        if self._lock is not None:
            self._digests = {path.name: self._digests.get(path.name) or _digest(path) for path in paths}
            self._write_journal()
        self._remove_all_but({path.name for path in paths})

    def close(self, *, keep: bool) -> None:
        """Releases the folder, and removes it unless what was saved is to be kept."""
        if self._folder is not None and (self._lock is None or not keep or self.state is None):
            self.file(_JOURNAL).unlink(missing_ok=True)  # first: without it nobody resumes from half of the files
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
        self._folder = self._lock = None

    def _claim(self) -> bool:
        self._lock = _locked(self._path)
        if self._lock is not None:
            self._folder = self._path
        return self._lock is not None

    def _resume(self) -> None:
        place = self._of.partition("\n")[0]
        if (self._path / _JOURNAL).exists():
            if reason := self._read_journal():
                log.warning("the index of %s that was cut short is not resumed: %s", place, reason)
                self.file(_JOURNAL).unlink()
            else:
                log.warning(
                    "resuming the index of %s that was cut short: it began %s ago, and what it has listed may have "
                    "changed since",
                    place,
                    how_long_ago(self.began),
                )
        self._remove_all_but(set(self._digests))

    def _write_journal(self) -> None:
        found = {"made_by": _made_by(), "of": self._of, "began": self.began}
        body = json.dumps({**found, "files": self._digests, "state": self.state}).encode()
        with replacing(self.file(_JOURNAL)) as temporary:
            temporary.write_bytes(hashlib.blake2b(body).hexdigest().encode() + b"\n" + body)

    def _read_journal(self) -> str:
        """Takes over what the journal says; why not, if it cannot be trusted."""
        digest, _, body = self.file(_JOURNAL).read_bytes().partition(b"\n")
        if hashlib.blake2b(body).hexdigest().encode() != digest:
            return "its journal is damaged"
        found = json.loads(body)
        if found.get("made_by") != _made_by() or found["of"] != self._of:
            return "another version of swav_ray made it"
        if not 0 <= time.time() - found["began"] <= MOST_HOURS * 3600:
            return f"it began {how_long_ago(found['began'])} ago, more than {MOST_HOURS}"
        for name, expected in found["files"].items():
            if not self.file(name).is_file() or _digest(self.file(name)) != expected:
                return f"{self.file(name)} is missing or damaged"
        self.state, self.began, self._digests = found["state"], found["began"], found["files"]
        self._count = max((int(Path(name).stem) for name in self._digests), default=0)
        return ""

    def _remove_all_but(self, names: set[str]) -> None:
        assert self._folder is not None
        for path in self._folder.iterdir():
            if path.name not in names and path.name != _JOURNAL:
                path.unlink()


def _made_by() -> list[Any]:
    return [_FORMAT, metadata.version("swav_ray"), metadata.version("pyarrow")]


def _locked(folder: Path) -> int | None:
    """A lock on this user's folder, which is made if need be; None if another process has it, or another user."""
    while True:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        try:
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                return None
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:  # another process has just finished with it
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_ino == folder.lstat().st_ino:
                return lock
        except FileNotFoundError:
            pass
        except OSError:
            os.close(lock)
            return None
        os.close(lock)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
