"""Who may write to a run directory, and what the time of a run went into."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from swav_ray.run.history import History, Superseded, goodput, read_history
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


def record(step: int, time: float, seconds: float = 1.0, **others: float) -> dict[str, float]:
    return {"step": step, "time": time, "seconds": seconds, "data_wait": 0.25} | {
        "checkpoint_seconds": 0.0,
        "evaluate_seconds": 0.0,
        **others,
    }


def start(time: float, step: int, lost: float = 0.0) -> dict[str, object]:
    return {"event": "start", "time": time, "step": step, "lost_seconds": lost}


def test_every_second_is_somewhere_once() -> None:
    records = [record(0, 11.0), record(1, 12.5, checkpoint_seconds=0.5), record(2, 43.5), record(3, 44.5)]
    # Steps 2 and 3 were done once at 14.5 and lost; a first restart failed before its first step.
    history = [start(8.0, 0), start(30.0, 2, lost=2.0), start(38.0, 2)]
    seconds = goodput(records, history)
    assert seconds == {
        "training": 3.0,
        "data_wait": 1.0,
        "checkpointing": 0.5,
        "evaluating": 0.0,
        "starting": 2.0,
        "restarting": 28.0,  # from 12.5 to 42.5, less the two seconds of lost steps
        "recomputing": 2.0,
        "goodput": round(3.0 / 36.5, 4),
    }
    assert sum(seconds.values()) - seconds["goodput"] == pytest.approx(44.5 - 8.0)


def test_the_time_between_a_stop_and_the_next_start_is_nobodys_loss() -> None:
    records = [record(0, 11.0), record(1, 5000.0)]
    history = [start(8.0, 0), {"event": "stop", "time": 11.1, "step": 1}, start(4990.0, 1)]
    seconds = goodput(records, history)
    assert seconds["restarting"] == 0.0
    assert seconds["starting"] == pytest.approx(2.0 + 9.0)


def test_a_run_that_has_not_begun_has_no_goodput() -> None:
    assert goodput([], [start(1.0, 0)])["goodput"] == 0.0
