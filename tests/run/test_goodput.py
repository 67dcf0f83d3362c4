"""What the time of a run went into: every second by the clock is somewhere once."""

from __future__ import annotations

import pytest

from swav_ray.run.goodput import goodput


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
        "launching": 0.0,
        "starting": 2.0,
        "restarting": 28.0,  # from 12.5 to 42.5, less the two seconds of lost steps
        "recomputing": 2.0,
        "finishing": 0.0,
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


def launch(time: float) -> dict[str, object]:
    return {"event": "launch", "time": time}


def test_the_start_of_ray_and_the_last_measurement_count_by_the_clock() -> None:
    records = [record(0, 111.0), record(1, 112.0)]
    seconds = goodput(records, [launch(80.0), start(105.0, 0)], now=120.0)
    assert (seconds["launching"], seconds["starting"], seconds["finishing"]) == (25.0, 5.0, 8.0)
    assert sum(seconds.values()) - seconds["goodput"] == pytest.approx(120.0 - 80.0)
    assert seconds["goodput"] == pytest.approx(1.5 / 40.0)


def test_a_run_that_was_stopped_and_launched_again_counts_both_launches_and_nothing_between() -> None:
    records = [record(0, 111.0), record(1, 5111.0)]
    stop = {"event": "stop", "time": 113.0, "step": 1}
    history = [launch(100.0), start(108.0, 0), stop, launch(5100.0), start(5107.0, 1)]
    seconds = goodput(records, history, now=5112.0)
    assert sum(seconds.values()) - seconds["goodput"] == pytest.approx(13.0 + 12.0)


def test_a_launch_that_was_killed_before_its_first_step_costs_no_time_between() -> None:
    history = [launch(100.0), start(108.0, 0), launch(5100.0), start(5107.0, 0)]
    seconds = goodput([record(0, 5111.0)], history, now=5112.0)
    assert seconds["starting"] == 3.0
    assert seconds["launching"] == 8.0 + 7.0
    assert seconds["restarting"] == 0.0


def test_after_a_kill_and_a_launch_the_time_between_is_nobodys_loss() -> None:
    records = [record(0, 111.0), record(1, 5111.0)]
    seconds = goodput(records, [launch(100.0), start(108.0, 0), launch(5100.0), start(5107.0, 1)], now=5111.0)
    assert seconds["restarting"] == 0.0
    assert sum(seconds.values()) - seconds["goodput"] == pytest.approx(11.0 + 11.0)
