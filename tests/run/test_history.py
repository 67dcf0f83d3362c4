"""Who may write to a run directory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from swav_ray.run.history import History, Superseded, note_launch, read_history
from swav_ray.storage import patience
from swav_ray.storage.place import Place, place


def test_the_last_claim_may_write_and_no_other(tmp_path: Path) -> None:
    run_dir = place(tmp_path)
    first = History(run_dir)
    first.start(0, 2, [])
    first.check()
    second = History(run_dir)
    with pytest.raises(Superseded):
        first.check()
    with pytest.raises(Superseded):
        first.stop(3)
    second.start(3, 1, [{"step": 3, "seconds": 1.5}, {"step": 4, "seconds": 2.0}])
    second.stop(9)
    events = [(entry["event"], entry.get("step"), entry.get("lost_steps")) for entry in read_history(run_dir)]
    assert events == [("claim", None, None), ("start", 0, 0), ("claim", None, None), ("start", 3, 2), ("stop", 9, None)]
    assert read_history(run_dir)[3]["lost_seconds"] == 3.5


def test_a_claim_waits_while_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_RETRY_SECONDS", 0.01)
    whole, failures, said = Place.write_bytes, iter(range(3)), []

    def full_at_first(self: Place, data: bytes) -> None:
        if next(failures, None) is not None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(self, data)

    monkeypatch.setattr(Place, "write_bytes", full_at_first)
    History(place(tmp_path), warn=said.append).check()
    assert said == ["storage is unavailable or full, waiting for it: [Errno 28] No space left on device"]


def test_a_launch_is_noted_with_the_time_at_which_its_command_began(tmp_path: Path) -> None:
    note_launch(place(tmp_path), 12.5, print)
    History(place(tmp_path)).start(0, 1, [])
    events = [(entry["event"], entry["time"]) for entry in read_history(place(tmp_path))]
    assert events[0] == ("launch", 12.5)
    assert [event for event, _ in events] == ["launch", "claim", "start"]
