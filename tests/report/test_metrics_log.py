"""metrics.jsonl holds the committed lineage: a line a step, none twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.data.storage import place
from swav_ray.report.metrics_log import METRICS, MetricsLog, read_metrics


def write(run_dir: str, start: int, stop: int) -> None:
    log = MetricsLog(place(run_dir), start)
    for step in range(start, stop):
        log.append({"step": step, "loss": float(step)})
    log.close()


def test_steps_past_the_checkpoint_are_dropped_when_a_run_goes_on(tmp_path: Path) -> None:
    write(str(tmp_path), 0, 5)
    write(str(tmp_path), 3, 6)
    assert [record["step"] for record in read_metrics(place(tmp_path))] == [0, 1, 2, 3, 4, 5]


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    write(str(tmp_path), 0, 2)
    file = tmp_path / METRICS
    file.write_text(file.read_text() + '{"step": 2, "lo')
    assert [record["step"] for record in read_metrics(place(tmp_path))] == [0, 1]


def test_tensorboard_events_are_written(tmp_path: Path) -> None:
    write(str(tmp_path), 0, 2)
    assert list((tmp_path / "events").glob("events.out.tfevents.*"))


@pytest.mark.s3
def test_on_s3_records_are_durable_once_flushed(s3: str) -> None:
    write(f"{s3}/run", 0, 3)
    write(f"{s3}/run", 2, 4)
    assert [record["step"] for record in read_metrics(place(f"{s3}/run"))] == [0, 1, 2, 3]
    assert any(entry.name.startswith("events/") for entry in place(f"{s3}/run").list())
