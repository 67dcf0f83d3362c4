"""A file of lines that grows: at once on a disk, with each flush on S3, and whole whatever the disk does."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from swav_ray.run.line_file import LineFile, read_lines
from swav_ray.storage.place import place


def test_on_a_disk_a_line_is_there_at_once(tmp_path: Path) -> None:
    file = LineFile(place(tmp_path) / "lines", [{"step": 0}])
    file.append({"step": 1})
    assert read_lines(place(tmp_path) / "lines") == [{"step": 0}, {"step": 1}]
    file.close()


def test_no_file_has_no_lines_and_a_last_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    assert read_lines(place(tmp_path) / "lines") == []
    (tmp_path / "lines").write_text('{"step": 0}\n{"st')
    assert read_lines(place(tmp_path) / "lines") == [{"step": 0}]


def test_a_full_disk_is_told_once_and_costs_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    file = LineFile(place(tmp_path) / "lines", [], told.append)
    whole = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: whole(descriptor, data[:4]))
    file.append({"step": 0})
    file.append({"step": 1})
    assert read_lines(place(tmp_path) / "lines") == []
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        file.flush()
    monkeypatch.setattr(os, "write", whole)
    file.append({"step": 2})
    assert read_lines(place(tmp_path) / "lines") == [{"step": 0}, {"step": 1}, {"step": 2}]
    assert told == [f"{tmp_path}/lines: {os.strerror(errno.ENOSPC)}; its lines wait in memory"]
    file.close()


@pytest.mark.s3
def test_on_s3_lines_are_there_after_a_flush(s3: str) -> None:
    where = place(f"{s3}/run/lines")
    file = LineFile(where, [{"step": 0}])
    file.append({"step": 1})
    assert read_lines(where) == [{"step": 0}]
    file.flush()
    assert read_lines(where) == [{"step": 0}, {"step": 1}]
    file.close()
