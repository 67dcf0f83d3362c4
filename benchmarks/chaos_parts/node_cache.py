"""The folder of the nodes' cache, on a small file system of its own that can be filled, and what may happen to it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_MEGABYTES = 4  # all images of a run and their folders, many times
_BALLAST = "ballast"
_COUNT = "usage"  # a file of the cache that is no entry


@dataclass(frozen=True)
class CacheFolder:
    """`scaling.cache_dir` of all nodes, which are on this machine and so share it."""

    folder: Path

    def entries(self) -> list[Path]:
        """Files of cached images."""
        found = [file for file in self.folder.rglob("*") if file.is_file() and file.name not in (_COUNT, _BALLAST)]
        return sorted(file for file in found if not file.name.startswith("."))

    def remove(self) -> str:
        """Removes all that is cached, while processes read and write it."""
        count = len(self.entries())
        for found in self.folder.iterdir():
            if found.is_dir():
                shutil.rmtree(found, ignore_errors=True)
        return f"{count} entries removed"

    def corrupt(self) -> str:
        """Flips a byte of every other entry, and cuts the others short."""
        entries = self.entries()
        for index, file in enumerate(entries):
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 0xFF
            file.write_bytes(data if index % 2 else data[: len(data) // 2])
        return f"{len(entries)} entries damaged"

    def fill(self) -> str:
        """Leaves the disk without a free byte."""
        with open(self.folder / _BALLAST, "ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return f"the disk is full; {len(self.entries())} entries stay"


@contextmanager
def small_disk(folder: Path) -> Iterator[CacheFolder]:
    """A file system of a few megabytes at `folder`. Raises OSError, CalledProcessError: only root may mount one."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_MEGABYTES}m,mode=700", "tmpfs", str(folder)], check=True)
    try:
        yield CacheFolder(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
