"""measurements.jsonl: a line for each measurement, whole after any restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.data.storage import place
from swav_ray.report import measurements


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


@pytest.mark.s3
def test_measurements_lie_on_s3_too(s3: str) -> None:
    run_dir = place(s3) / "run"
    measurements.append(run_dir, {"step": 10})
    assert measurements.keep_until(run_dir, 10) == [{"step": 10}]
