"""One run directory, one run: a second command with the same name is refused, a dead one's place is taken at once.

On a file system the lease is a lock that ends with its process. On S3, which has none, it is an object that says who
holds it and changes every few seconds while they live. It is written only over the version that was read, so of two
processes that take it at once the server lets one.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil

from swav_ray.config import ConfigError
from swav_ray.run.layout import LEASE
from swav_ray.storage.errors import NoConditionalWrites
from swav_ray.storage.place import Place, StorageUnavailable

_BEAT_SECONDS = 5.0
_DEAD_SECONDS = 20.0  # without a beat
_OTHER_VERSION = f'"{"0" * 32}"'  # that no object has
_SETTLE_SECONDS = 0.5  # in which another process's write shows, on a server without conditional writes

Holder = dict[str, Any]  # who holds a lease; empty: nobody who can be named


class Lease:
    """Held from `acquire` to `release`, or the end of the process.

    Args:
        run_dir: the run directory.
        name: of the run, for messages, and `setting`, what gives it another.
        say: gets a line if there is something to wait for, or to know.
        lost: is called, from another thread, if another process has taken the run (S3 only).
    """

    def __init__(
        self,
        run_dir: Place,
        name: str,
        say: Callable[[str], None],
        lost: Callable[[], None] = lambda: None,
        *,
        setting: str = "run.name",
    ) -> None:
        self._name, self._setting = name, setting
        path = run_dir / LEASE
        self._lock = _FileLock(path) if path.is_local else _ObjectLock(path, name, say, lost)

    def acquire(self) -> None:
        """Takes the run; raises ConfigError if another process has it, OSError if there are no file locks."""
        holder = self._lock.take()
        if holder is None:
            return
        who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
        raise ConfigError(
            self._setting, self._name, f"is running already ({who}); wait for it, stop it, or choose another name"
        )

    def release(self) -> None:
        """Leaves the run to others."""
        self._lock.release()


class _FileLock:
    """A file that this process has locked."""

    def __init__(self, path: Place) -> None:
        self._path = path
        self._file: IO[str] | None = None
        self._made: list[Path] = []  # folders, from the innermost

    def take(self) -> Holder | None:
        """None, or who holds it."""
        path = self._path.local_path
        self._made = [folder for folder in path.parents if not folder.exists()]
        try:
            return self._take(path)
        except OSError:
            self._remove_what_was_made()
            raise

    def _take(self, path: Path) -> Holder | None:
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = _holder(file.read())
                file.close()
                return holder
            if _is_at(path, file):
                break
            file.close()  # its holder has just deleted it: a lock on it excludes nobody
        file.truncate(0)
        file.write(json.dumps(_this_process()))
        file.flush()
        self._file = file
        return None

    def release(self) -> None:
        if self._file is not None:
            self._path.delete()  # while it is locked: whoever has opened it meanwhile notices
            self._file.close()
            self._remove_what_was_made()

    def _remove_what_was_made(self) -> None:
        """Of a refused run or sweep nothing stays."""
        for folder in self._made:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


class _ObjectLock:
    """An object on S3 that this process keeps changing."""

    def __init__(self, path: Place, name: str, say: Callable[[str], None], lost: Callable[[], None]) -> None:
        self._path, self._name, self._say, self._lost = path, name, say, lost
        self._own = _this_process()
        self._beat = 0
        self._version: str | None = None  # of what this process wrote; None: the server knows no conditions
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self) -> Holder | None:
        """None, or who holds it."""
        holder, version = self._read()
        if holder and not _is_dead_here(holder, self._own):
            self._say(
                f"run {self._name} was held by process {holder.get('pid')} on {holder.get('host')}; "
                f"watching for {_DEAD_SECONDS:.0f} s whether it lives"
            )
            end = time.monotonic() + _DEAD_SECONDS
            while version is not None and time.monotonic() < end:
                time.sleep(1.0)
                holder, now = self._read()
                if now is not None and now != version:
                    return holder
                version = now
        if not self._write_over(version):
            return self._read()[0]
        self._thread = threading.Thread(target=self._keep_beating, name="lease", daemon=True)
        self._thread.start()
        return None

    def release(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            if self._is_ours():
                self._path.delete()

    def _write_over(self, version: str | None) -> bool:
        """Whether the lease was written over that version, or for None as a new object."""
        try:
            self._version = self._write(version)
            if self._version is None:
                return False
            # A server that ignores conditions does not say so: one that cannot be met must be refused.
            others = (None, _OTHER_VERSION)
            conditional = all(self._path.write_if_version(self._sign(), other) is None for other in others)
        except NoConditionalWrites:
            conditional = False
        return conditional or self._write_unconditionally()

    def _write_unconditionally(self) -> bool:
        """Whether the lease was written and has stayed, on a server without conditional writes."""
        self._version = None
        self._say(
            f"{self._path}: this S3 server has no conditional writes; of two runs of one name that start within "
            f"{_SETTLE_SECONDS} s both may begin, and one stops at its next beat"
        )
        self._path.write_bytes(self._sign())
        time.sleep(_SETTLE_SECONDS)  # of two that begin at once the later one stays
        return self._is_ours()

    def _write(self, version: str | None) -> str | None:
        """The version of this process's sign of life, written over that version; None if another process has it."""
        while True:
            written = self._path.write_if_version(self._sign(), version)
            if written is not None:
                return written
            holder, version = self._read()
            if holder.get("id") != self._own["id"]:
                return None
            # An earlier write of this process did succeed, and only its answer was lost.

    def _keep_beating(self) -> None:
        while not self._stop.wait(_BEAT_SECONDS):
            self._beat += 1
            try:
                if self._version is None:
                    is_ours = self._is_ours()
                    if is_ours:
                        self._path.write_bytes(self._sign())
                else:
                    self._version = self._write(self._version)
                    is_ours = self._version is not None
            except (OSError, StorageUnavailable):
                continue  # storage that is unavailable now may be back at the next beat
            if not is_ours:
                self._lost()
                return

    def _sign(self) -> bytes:
        return json.dumps(self._own | {"beat": self._beat}).encode()

    def _is_ours(self) -> bool:
        return bool(self._read()[0].get("id") == self._own["id"])

    def _read(self) -> tuple[Holder, str | None]:
        """Who holds it, and the version that says so; None if there is no such object."""
        try:
            data, version = self._path.read_version()
        except FileNotFoundError:
            return {}, None
        return _holder(data), version


def ended_here(run_dir: Place) -> bool:
    """Whether the process that last took a run was one of this machine, and is no more."""
    try:
        holder = _holder((run_dir / LEASE).read_bytes())
    except FileNotFoundError:
        return True
    return bool(holder) and _is_dead_here(holder, _this_process())


def _is_at(path: Path, file: IO[str]) -> bool:
    """Whether an open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _holder(text: str | bytes) -> Holder:
    try:
        found: Holder = json.loads(text)
    except ValueError:
        return {}
    return found


def _this_process() -> Holder:
    return {
        "id": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "processes": _process_numbers(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
    }


def _is_dead_here(holder: Holder, own: Holder) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    if any(holder.get(name) != own[name] for name in ("host", "processes")):
        return False
    try:
        return bool(psutil.Process(holder["pid"]).create_time() != holder["started"])
    except psutil.NoSuchProcess:
        return True


def _process_numbers() -> str:
    """What process numbers are unique in: containers may share a host's name and number their processes apart."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
