"""What a node has read from storage, in files on its own disk: bounded, verified, shared by the node's processes.

A file an entry, in one of _FOLDERS folders by the hash of its key. Each folder counts its own bytes and evicts its own
least recently used entries, so no write looks at more than one folder, and few look at that. An entry is written under
a temporary name and renamed: a process may be killed at any time. Readers take no lock. Knows nothing of what is read.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import logging
import os
import struct
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_FORMAT = "swav_ray-cache-1"  # the folder below the user's own, which may hold other things
_FOLDERS = 64
_HEAD = struct.Struct("<4sIQ")  # _MAGIC, CRC-32 of key and data, bytes of data
_MAGIC = b"SwVc"
_USAGE = "usage"  # in each folder: its bytes on disk, locked while they change
_COUNT = struct.Struct("<QI")  # bytes, and their CRC-32: zeros after a power cut are no count
_BLOCK = 4096  # of the file system: what a small entry takes
_LEFT_BY_EVICTION = 7 / 8  # of a folder's bytes: it is looked through once for many writes
_FRESH_SECONDS = 60.0  # an entry used since then is not marked again
_LEFTOVER_SECONDS = 600.0  # after which the file of a killed writer is removed

log = logging.getLogger("swav_ray.storage")


@dataclass(frozen=True, slots=True)
class NodeCache:
    """A cache in the folder of that name on whichever node it is used. Picklable and cheap.

    No method raises because of the disk: what cannot be read is absent, and what cannot be written is left out, with
    one warning a process. Runs that share a folder should give the same ``most_bytes``: the smaller one decides.

    Args:
        folder: made if there is none; ``~`` is the home of the user on that node.
        most_bytes: of all entries. One that is larger than 1/64 of it is not cached.
    """

    folder: str
    most_bytes: int

    def has(self, key: str) -> bool:
        """Whether there is an entry, which may be damaged, or evicted before it is read."""
        return self._state().usable and os.path.exists(self._path(key))

    def get(self, key: str) -> bytes | None:
        """What `put` got under this key; None if it is not there. A damaged entry is removed."""
        state = self._state()
        if not state.usable:
            return None
        path = self._path(key)
        try:
            with open(path, "rb", buffering=0) as file:
                head, data = file.read(_HEAD.size), file.read()
                _mark_used(file.fileno())
        except FileNotFoundError:
            return None
        except OSError as error:
            state.warn(f"cannot be read ({error})")
            return None
        if head == _head(key, data):
            return data
        state.warn("has a damaged entry; it is read again from storage")
        with contextlib.suppress(OSError):
            os.unlink(path)
        return None

    def put(self, key: str, data: bytes) -> None:
        """Adds an entry, unless there is one; evicts others if there is no room."""
        state, size = self._state(), _on_disk(_HEAD.size + len(data))
        if not state.writable or size > self.most_bytes // _FOLDERS:
            return
        path = self._path(key)
        if os.path.exists(path):  # another process, or the same image twice in one read: bytes of a key never change
            return
        folder = os.path.dirname(path)
        temporary = f"{folder}/.{uuid.uuid4().hex}"
        try:
            os.makedirs(folder, 0o700, exist_ok=True)
            _reserve(folder, size, self.most_bytes // _FOLDERS)
            with open(temporary, "xb", buffering=0) as file:
                _write_all(file.fileno(), _head(key, data) + data)
            os.replace(temporary, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            state.stop_writing(str(error.strerror or error))

    def _state(self) -> _State:
        return _state_of(self.folder)

    def _path(self, key: str) -> str:
        name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        return f"{self._state().root}/{int(name[:2], 16) % _FOLDERS:02x}/{name}"


class _State:
    """What this process knows of a cache's folder: whether it may be used, and whether the user was told why not."""

    def __init__(self, folder: str) -> None:
        self.root = os.path.join(os.path.expanduser(folder), _FORMAT)
        self._folder = folder
        self._warned = False
        self.usable = self.writable = True
        try:
            os.makedirs(self.root, 0o700, exist_ok=True)
            if os.stat(self.root).st_uid != os.geteuid():  # who could have put anything there
                raise PermissionError("it belongs to another user")
        except OSError as error:
            self.usable = self.writable = False
            self.warn(f"cannot be used ({error.strerror or error}); the run reads from storage")

    def stop_writing(self, reason: str) -> None:
        self.writable = False
        self.warn(f"takes no more entries ({reason}); what is not in it is read from storage")

    def warn(self, what: str) -> None:
        """One line, once."""
        if not self._warned:
            self._warned = True
            log.warning("scaling.cache_dir = %r: the cache on node %s %s", self._folder, os.uname().nodename, what)


@functools.cache
def _state_of(folder: str) -> _State:
    return _State(folder)


def _head(key: str, data: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, zlib.crc32(data, zlib.crc32(key.encode())), len(data))


def _on_disk(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:  # a disk that fills up takes a part, and refuses the rest
        left = left[os.write(file, left) :]


def _mark_used(file: int) -> None:
    """The time of an entry's file is that of its last use: file systems are mostly mounted without their own."""
    if time.time() - os.fstat(file).st_mtime > _FRESH_SECONDS:
        with contextlib.suppress(OSError):  # a cache on a read-only disk
            os.utime(file)


def _reserve(folder: str, size: int, most: int) -> None:
    """Counts an entry before it is written, so that a writer that is killed has counted too much, never too little.

    Too much is put right when the folder is next looked through.
    """
    file = os.open(f"{folder}/{_USAGE}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)  # which ends with the process
        used = _counted(os.pread(file, _COUNT.size, 0))
        if used is None or used + size > most:
            room = most - size if used is None else int(most * _LEFT_BY_EVICTION) - size
            used = _evict(folder, max(0, room))
        count = struct.pack("<Q", used + size)
        os.pwrite(file, count + struct.pack("<I", zlib.crc32(count)), 0)
    finally:
        os.close(file)


def _counted(raw: bytes) -> int | None:
    """The bytes of a folder; None if nobody has counted them or the count is damaged."""
    if len(raw) < _COUNT.size:
        return None
    used, checksum = _COUNT.unpack(raw)
    return int(used) if zlib.crc32(raw[:8]) == checksum else None


def _evict(folder: str, goal: int) -> int:
    """Removes the least recently used entries until at most ``goal`` bytes are left; how many are."""
    entries = sorted(_entries(folder))
    total = sum(size for _, size, _ in entries)
    for _, size, path in entries:
        if total <= goal:
            break
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        total -= size
    return total


def _entries(folder: str) -> Iterator[tuple[float, int, str]]:
    """Time of the last use, bytes on disk and path of each file; those of killed writers are due first."""
    now = time.time()
    with os.scandir(folder) as found:
        for item in found:
            if item.name == _USAGE:
                continue
            try:
                about = item.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not item.name.startswith("."):
                yield about.st_mtime, _on_disk(about.st_size), item.path
            elif now - about.st_mtime > _LEFTOVER_SECONDS:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(item.path)
            else:  # being written: counted, and evicted last
                yield now, _on_disk(about.st_size), item.path
