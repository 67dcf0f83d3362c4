"""One run directory, one run: a second command with the same name is refused, a dead one's place is taken at once.

On a file system the lease is a lock that ends with its process. On S3, which has none, it is an object that says who
holds it and changes every few seconds while they live.
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
from pathlib import Path
from typing import IO, Any

import psutil

from swav_ray.config import ConfigError
from swav_ray.run.layout import LEASE
from swav_ray.storage.place import Place, StorageUnavailable

_BEAT_SECONDS = 5.0
_DEAD_SECONDS = 20.0  # without a beat


class Lease:
    """Held from `acquire` to `release`, or the end of the process.

    Args:
        run_dir: the run directory.
        name: of the run, for messages, and `setting`, what gives it another.
        say: is told when there is something to wait for.
        lost: is called, from another thread, where another process has taken the run (S3 only).
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
        self._place, self._name, self._say, self._lost = run_dir / LEASE, name, say, lost
        self._setting = setting
        self._file: IO[str] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._own = {
            "id": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "processes": _process_numbers(),
            "pid": os.getpid(),
            "started": psutil.Process().create_time(),
        }

    def acquire(self) -> None:
        """Takes the run; raises ConfigError where another process has it, OSError where there are no file locks."""
        if self._place.is_local:
            self._acquire_local()
        else:
            self._acquire_object()

    def release(self) -> None:
        """Leaves the run to others."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            if self._read().get("id") == self._own["id"]:
                self._place.delete()
        if self._file is not None:
            self._place.delete()  # while it is locked: whoever has opened it meanwhile notices
            self._file.close()

    def _acquire_local(self) -> None:
        path = self._place.local_path
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = self._read()
                file.close()
                raise self._refused(holder) from None
            if _is_at(path, file):
                break
            file.close()  # its holder has just deleted it: a lock on it excludes nobody
        file.truncate(0)
        file.write(json.dumps(self._own))
        file.flush()
        self._file = file

    def _acquire_object(self) -> None:
        holder = self._read()
        if holder and not self._is_dead_here(holder):
            self._say(
                f"run {self._name} was held by process {holder.get('pid')} on {holder.get('host')}; "
                f"watching for {_DEAD_SECONDS:.0f} s whether it lives"
            )
            patience = time.monotonic() + _DEAD_SECONDS
            while time.monotonic() < patience:
                time.sleep(1.0)
                now = self._read()
                if now and now != holder:
                    raise self._refused(now)
                if not now:
                    break
        self._beat(0)
        time.sleep(0.5)  # two that begin at once both write: the later one stays
        if self._read().get("id") != self._own["id"]:
            raise self._refused(self._read())
        self._thread = threading.Thread(target=self._keep_beating, name="lease", daemon=True)
        self._thread.start()

    def _keep_beating(self) -> None:
        beat = 0
        while not self._stop.wait(_BEAT_SECONDS):
            beat += 1
            try:
                if self._read().get("id") != self._own["id"]:
                    self._lost()
                    return
                self._beat(beat)
            except (OSError, StorageUnavailable):
                continue  # storage that is away now may be back at the next beat

    def _beat(self, number: int) -> None:
        self._place.write_bytes(json.dumps(self._own | {"beat": number}).encode())

    def _read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._place.read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return found

    def _is_dead_here(self, holder: dict[str, Any]) -> bool:
        """Whether the holder was a process of this machine that is no more."""
        if any(holder.get(name) != self._own[name] for name in ("host", "processes")):
            return False
        try:
            return bool(psutil.Process(holder["pid"]).create_time() != holder["started"])
        except psutil.NoSuchProcess:
            return True

    def _refused(self, holder: dict[str, Any]) -> ConfigError:
        who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
        return ConfigError(
            self._setting, self._name, f"is running already ({who}); wait for it, stop it, or choose another name"
        )


def _is_at(path: Path, file: IO[str]) -> bool:
    """Whether an open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _process_numbers() -> str:
    """What process numbers are unique in: containers may share a host's name and number their processes apart."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
