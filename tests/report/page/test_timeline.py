"""A run by the clock: what did not train shows where it happened."""

from __future__ import annotations

import pytest

from swav_ray.report.page.timeline import begins, goodput_over_time, marks, minutes
from tests.report.page.examples import BEGAN, step_line


def test_the_clock_begins_with_the_command() -> None:
    steps = [step_line(0, 2, 3.0)]
    assert begins(steps, [{"time": BEGAN, "event": "launch"}]) == BEGAN
    assert begins([], []) == 0.0
    assert minutes(steps, BEGAN).tolist() == pytest.approx([10.5 / 60])


def test_goodput_over_time_sums_to_the_seconds_that_trained() -> None:
    steps = [step_line(step, 200, 3.0, late=0 if step < 100 else 60) for step in range(200)]
    x, percent = goodput_over_time(steps, BEGAN)
    width = (steps[-1]["time"] - BEGAN) / len(x)
    assert percent.sum() / 100 * width == pytest.approx(200 * 0.5 * 0.9)
    assert percent[0] == 0  # nothing trains before the first step
    middle = (x > (10 + 50 + 5) / 60) & (x < (10 + 50 + 55) / 60)
    assert middle.any()
    assert percent[middle].max() == 0
    assert percent[-5:].mean() == pytest.approx(90, abs=1)


def test_goodput_of_no_step_is_empty() -> None:
    assert len(goodput_over_time([], 0.0)[0]) == 0


def test_restarts_resizes_stops_and_remedies_are_marked() -> None:
    start = {"event": "start", "lost_steps": 0, "lost_seconds": 0.0}
    remedy = {"event": "remedy", "time": 5.0, "step": 30, "back_to": 10, "word": "stuck", "why": "x"}
    history = [
        {"event": "claim", "time": 0.0, "id": "a"},
        start | {"time": 1.0, "step": 0, "workers": 2},
        start | {"time": 2.0, "step": 10, "workers": 2, "lost_steps": 1},
        start | {"time": 3.0, "step": 20, "workers": 4},
        {"event": "stop", "time": 4.0, "step": 25},
        remedy | {"changes": {"assignment.epsilon": 0.03}},
    ]
    found = marks(history)
    assert [mark.kind for mark in found] == ["restart", "resize", "stop", "remedy"]
    assert [mark.x for mark in found] == [10, 20, 25, 30]
    assert found[0].text == "restarted at step 10, 1 step computed again"
    assert found[3].text == "remedy for stuck: back to step 10 with assignment.epsilon = 0.03"
    assert [mark.x for mark in marks(history, began=0.0)] == pytest.approx([2 / 60, 3 / 60, 4 / 60, 5 / 60])
