"""An index that is killed is resumed, and makes the list of one that was not; it never trusts what it did not write."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from swav_ray.data.indexing import unfinished
from swav_ray.data.indexing.unfinished import UnfinishedIndex, unfinished_index
from swav_ray.data.manifest import build, save
from swav_ray.storage.place import PlaceError, StorageUnavailable, place
from tests.data.images import image, write_files


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where unfinished indexes lie."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def killed(of: str = "s3://b/x", rows: bytes = b"rows") -> UnfinishedIndex:
    """An index that has saved one file, and whose process is gone: its lock is, and the object is not closed."""
    index = UnfinishedIndex(of)
    path = index.next_file()
    path.write_bytes(rows)
    index.save({"seen": 7}, [path])
    index.next_file().write_bytes(b"after the last save")
    assert index._lock is not None
    os.close(index._lock)
    return index


@pytest.mark.parametrize(
    ("where", "step"),
    [
        ("folders", 7),
        ("flat", 25),
        *(pytest.param(*slow, marks=pytest.mark.slow) for slow in (("folders", 2), ("flat", 4))),
    ],
)
def test_an_index_killed_at_any_change_makes_the_same_list(tmp_path: Path, folder: Path, where: str, step: int) -> None:
    files = {
        f"{split}/{kind}/{n}.png": image(n, "PNG") for split in ("train", "val") for kind in "ab" for n in range(4)
    }
    write_files(tmp_path / "images", files | {"readme.txt": b"x", "train/c/notes.md": b"x"})
    # A run among the images: it is seen when all is listed, which is then listed again without it.
    save(build(str(tmp_path / "images")), place(tmp_path / "images" / "run" / "manifest.parquet"))
    uri = str(tmp_path / "images") if where == "folders" else "s3://flat"
    arguments = [uri, str(tmp_path), str(step)]
    command = [sys.executable, "-m", "tests.data.indexing.index_child", *arguments]
    environment = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["changes"] > 10 / step
    assert found["said"].count("resumed") > found["changes"] / 2
    assert not any("damaged" in line or "Error" in line for line in found["said"])
    assert not list(folder.iterdir())


def test_what_was_saved_comes_back_and_what_came_after_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    before = killed()
    with caplog.at_level(logging.WARNING, "swav_ray.data"), unfinished_index("s3://b/x") as index:
        assert index.state == {"seen": 7}
        assert index.began == before.began
        assert index.file("000001.arrow").read_bytes() == b"rows"
        assert not index.file("000002.arrow").exists()
        assert index.next_file().name == "000002.arrow"
    assert caplog.messages == [
        "resuming the index of s3://b/x that was cut short: it began 0 hours ago, and what it has listed may have "
        "changed since"
    ]
    assert UnfinishedIndex("s3://b/x").state is None


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("a file is cut", "000001.arrow is missing or damaged"),
        ("a file is gone", "000001.arrow is missing or damaged"),
        ("the journal is cut", "its journal is damaged"),
        ("it is old", "it began 30 hours ago, more than 24"),
        ("another version", "another version of swav_ray made it"),
    ],
)
def test_what_cannot_be_trusted_is_not_resumed(
    damage: str, told: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, folder: Path
) -> None:
    index = killed()
    file, journal = index.file("000001.arrow"), index.file("journal.json")
    if damage == "a file is cut":
        file.write_bytes(b"row")
    elif damage == "a file is gone":
        file.unlink()
    elif damage == "the journal is cut":
        journal.write_bytes(journal.read_bytes()[:-1])
    elif damage == "it is old":
        later = time.time() + 30 * 3600
        monkeypatch.setattr(time, "time", lambda: later)
    else:
        monkeypatch.setattr(unfinished, "_FORMAT", 2)
    with caplog.at_level(logging.WARNING, "swav_ray.data"), unfinished_index("s3://b/x") as again:
        assert again.state is None
        assert again.began == pytest.approx(time.time(), abs=60)
        assert not file.exists()
        assert not journal.exists()
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("the index of s3://b/x that was cut short is not resumed: ")
    assert caplog.messages[0].endswith(told)
    assert not list(folder.iterdir())


def test_another_place_does_not_resume() -> None:
    killed("s3://b/x\nhttp://here")
    for other in ("s3://b/y\nhttp://here", "s3://b/x\nhttp://there"):
        with unfinished_index(other) as index:
            assert index.state is None
    with unfinished_index("s3://b/x\nhttp://here") as index:
        assert index.state == {"seen": 7}


def test_two_processes_do_not_share_an_index(folder: Path) -> None:
    killed()
    with unfinished_index("s3://b/x") as first, unfinished_index("s3://b/x") as second:
        assert first.state == {"seen": 7}
        assert second.state is None
        path = second.next_file()
        path.write_bytes(b"other")
        second.save({"seen": 1}, [path])
        assert path.parent != first.file("x").parent
    assert not list(folder.iterdir())


def test_another_users_folder_is_not_used(folder: Path) -> None:
    index = UnfinishedIndex("s3://b/x")
    index._path.symlink_to(folder / "elsewhere", target_is_directory=True)
    (folder / "elsewhere").mkdir()
    with unfinished_index("s3://b/x") as other:
        other.next_file().write_bytes(b"x")
    assert not list((folder / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("error", "stays"),
    [(PlaceError("holds no images"), False), (StorageUnavailable("no answer"), True), (OSError("no disk"), True)],
)
def test_what_a_place_holds_is_listed_anew_and_what_may_pass_is_waited_for(
    error: Exception, stays: bool, folder: Path
) -> None:
    killed()
    with pytest.raises(type(error)), unfinished_index("s3://b/x"):
        raise error
    assert bool(list(folder.iterdir())) == stays
    assert (UnfinishedIndex("s3://b/x").state is not None) == stays
