"""measurements.jsonl: a line for each measurement, whole after any restart."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from swav_ray.run import measurements
from swav_ray.storage.place import Place, place


def test_lines_are_in_order_and_a_step_measured_again_replaces_what_followed(tmp_path: Path) -> None:
    run_dir = place(tmp_path)
    assert measurements.read(run_dir) == []
    for step in (10, 20, 30):
        measurements.append(run_dir, {"step": step, "loss": 1.0})
    measurements.append(run_dir, {"step": 20, "loss": None})
    assert measurements.read(run_dir) == [{"step": 10, "loss": 1.0}, {"step": 20, "loss": None}]


def test_what_lies_past_the_checkpoint_is_dropped(tmp_path: Path) -> None:
    run_dir = place(tmp_path)
    for step in (10, 20, 30):
        measurements.append(run_dir, {"step": step})
    assert measurements.keep_until(run_dir, 20) == [{"step": 10}, {"step": 20}]
    assert measurements.read(run_dir) == [{"step": 10}, {"step": 20}]


def test_what_a_full_disk_refuses_waits_for_the_next_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = place(tmp_path)
    journal = measurements.Journal(run_dir)
    journal.add({"step": 10})
    journal.add({"step": 20})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Place, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            journal.flush()
    assert measurements.read(run_dir) == []
    journal.add({"step": 30})
    for _ in range(2):
        journal.flush()
        assert [row["step"] for row in measurements.read(run_dir)] == [10, 20, 30]


@pytest.mark.parametrize("data", [b'{"step": 10}\n{"step"', b"\xff\xfe"])
def test_a_damaged_file_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "measurements.jsonl").write_bytes(data)
    with pytest.raises(ValueError, match=r"/measurements\.jsonl: is damaged: "):
        measurements.read(place(str(tmp_path)))


@pytest.mark.s3
def test_measurements_lie_on_s3_too(s3: str) -> None:
    run_dir = place(s3) / "run"
    measurements.append(run_dir, {"step": 10})
    assert measurements.keep_until(run_dir, 10) == [{"step": 10}]
