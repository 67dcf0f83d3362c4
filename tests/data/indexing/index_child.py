"""Indexes a place, a few names at a time, and is killed by SIGKILL at its n-th change of a file that it laid aside.

    python -m tests.data.indexing.index_child PLACE FOLDER STEP

s3://flat is a bucket of names that are listed in ranges; nothing can be read of it.

Runs once undisturbed. Then, once for each STEP-th change, it runs in forks of itself: killed there, and again until it
ends. Prints one JSON line: how many changes there are, what was said of resuming, and which lists were not that of the
undisturbed run.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pandas  # noqa: F401  # which pyarrow loads when it is there: once, and not in each fork
import pytest

from swav_ray.data import manifest
from swav_ray.data.decoding import decode  # noqa: F401
from swav_ray.data.formats import found_files, listing
from swav_ray.data.indexing import external_sort, temporary
from swav_ray.data.indexing.unfinished import UnfinishedIndex
from swav_ray.data.looks import Looks
from swav_ray.storage import local
from swav_ray.storage.place import place
from swav_ray.storage.s3 import list as s3_list
from tests.storage.s3.test_flat_list import Bucket
from tests.storage.servers import use_server

_CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}


def _die_at(change: int) -> None:
    """Ends the process just before its n-th change of what the index has laid aside."""
    count = itertools.count(1)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        path = str(arguments[0]) if arguments else ""
        is_ours = "swav-ray-index-" in path or path.endswith(".arrow")  # of rmtree only the last part is seen
        if event in _CHANGES and is_ours and next(count) == change:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _index(uri: str, cache: Path, change: int, said: Path) -> bool:
    """Whether an index that dies at this change came to its end; whether it resumed is in the file ``said``."""
    child = os.fork()
    if child == 0:
        _die_at(change)
        resumed = UnfinishedIndex._read_journal

        def note(self: UnfinishedIndex) -> str:
            reason = resumed(self)
            said.write_text(said.read_text() + (reason or "resumed") + "\n")
            return reason

        UnfinishedIndex._read_journal = note  # type: ignore[method-assign]
        try:
            manifest.load_or_build(uri, place(cache))
        except BaseException as error:
            said.write_text(said.read_text() + f"{type(error).__name__}: {error}\n")
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _digest(folder: Path) -> str:
    """Of all files of a cache, but for the time of the listing."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.parquet")):
        found.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return found.hexdigest()


def main(uri: str, folder: Path, step: int) -> None:
    external_sort.RUN_ROWS, external_sort._BLOCK_ROWS, external_sort._MOST_RUNS = 4, 2, 3
    found_files.CHUNK = listing.CHUNK = 1
    listing._ROWS_A_PIECE = 0
    local._PAGE = 2
    temporary._MOST_BYTES = 1
    manifest.MOST_IN_MEMORY = 10
    if uri == "s3://flat":
        use_server(1, pytest.MonkeyPatch())
        s3_list.pages = Bucket([f"{n:03d}.jpg" for n in range(60)], size=6).pages  # type: ignore[assignment]
        manifest.look = lambda _: Looks()  # type: ignore[attr-defined]
    said = folder / "said"
    said.write_text("")
    cache = folder / "cache"
    assert _index(uri, cache, 0, said)
    whole, wrong = _digest(cache), []
    shutil.rmtree(cache)
    for change in itertools.count(1, step):
        is_done = _index(uri, cache, change, said)
        if not is_done and not _index(uri, cache, change + 3, said):
            assert _index(uri, cache, 0, said)
        if _digest(cache) != whole or list(Path(tempfile.gettempdir()).glob("swav-ray-index-*")):
            wrong.append(change)
        shutil.rmtree(cache, ignore_errors=True)
        if is_done:
            break
    print(json.dumps({"changes": (change - 1) // step, "said": said.read_text().splitlines(), "wrong": wrong}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
