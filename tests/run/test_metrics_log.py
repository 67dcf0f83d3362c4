"""metrics.jsonl holds the committed lineage: a line a step, none twice."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from swav_ray.run.events import Events
from swav_ray.run.layout import METRICS
from swav_ray.run.metrics_log import MetricsLog, logged_steps, read_metrics
from swav_ray.run.step_record import StepRecord
from swav_ray.storage.place import Place, place


def record(step: int, **figures: Any) -> StepRecord:
    whole: dict[str, Any] = {
        "steps": 9,
        "epoch": 0,
        "samples_seen": 8 * step + 8,
        "loss": float(step),
        "lr": 0.1,
        "images_per_second": 80.0,
        "data_wait": 0.5,
        "crop_seconds": 0.25,
        "bytes_read": 10,
        "retries": 0,
        "bad_images": 0,
        "workers": 1,
        "ids": "00ff",
        "time": 1.5,
        "seconds": 0.1,
        "checkpoint_seconds": 0.0,
        "evaluate_seconds": 0.0,
    }
    return StepRecord(step=step, **(whole | figures))


def write(run_dir: str, start: int, stop: int) -> None:
    log = MetricsLog(place(run_dir), start)
    for step in range(start, stop):
        log.append(record(step))
    log.close()


def test_steps_past_the_checkpoint_are_dropped_when_a_run_resumes(tmp_path: Path) -> None:
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


def test_steps_with_their_lines_are_counted_up_to_the_first_gap(tmp_path: Path) -> None:
    assert logged_steps(place(tmp_path)) is None
    write(str(tmp_path), 0, 3)
    assert logged_steps(place(tmp_path)) == 3
    log = MetricsLog(place(tmp_path), 3)
    log.append(record(5))
    log.close()
    assert logged_steps(place(tmp_path)) == 3


def test_a_trials_steps_count_from_the_checkpoint_that_it_began_with(tmp_path: Path) -> None:
    (tmp_path / "trial.json").write_text('{"origin": {"run_dir": "/other", "step": 7}}')
    write(str(tmp_path), 7, 9)
    assert logged_steps(place(tmp_path)) == 9
    (tmp_path / "trial.json").write_text('{"origin": null}')
    assert logged_steps(place(tmp_path)) == 0


@pytest.mark.s3
def test_a_step_waits_for_no_upload(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MetricsLog(place(f"{s3}/run"), 0)
    log.append(record(0))
    whole, away, back = Place.write_bytes, threading.Event(), threading.Event()

    def stalled(self: Place, data: bytes) -> None:
        away.set()
        assert back.wait(60)
        whole(self, data)

    monkeypatch.setattr(Place, "write_bytes", stalled)
    flush = threading.Thread(target=log.flush)
    flush.start()
    assert away.wait(60)
    step = threading.Thread(target=log.append, args=(record(1),), daemon=True)
    step.start()
    step.join(timeout=60)
    assert not step.is_alive()
    back.set()
    flush.join()
    log.close()
    assert [record["step"] for record in read_metrics(place(f"{s3}/run"))] == [0, 1]


@pytest.mark.s3
def test_on_s3_records_are_durable_once_flushed(s3: str) -> None:
    write(f"{s3}/run", 0, 3)
    write(f"{s3}/run", 2, 4)
    assert [record["step"] for record in read_metrics(place(f"{s3}/run"))] == [0, 1, 2, 3]
    assert any(entry.name.startswith("events/") for entry in place(f"{s3}/run").list())


def test_tensorboard_has_figures_that_move_and_from_the_first_step_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, float, int]] = []

    def scalars(_: Events, values: dict[str, float], step: int) -> None:
        written.extend((name, value, step) for name, value in values.items())

    monkeypatch.setattr(Events, "scalars", scalars)
    log = MetricsLog(place(tmp_path), 0)
    for step, workers in enumerate((2, 2, 4)):
        log.append(record(step, workers=workers))
    log.close()
    assert {name for name, _, _ in written} == {"train/loss", "train/workers"}, "all else has not moved"
    assert [(value, step) for name, value, step in written if name == "train/workers"] == [(2, 0), (4, 2)]
    assert [(value, step) for name, value, step in written if name == "train/loss"] == [(0.0, 0), (1.0, 1), (2.0, 2)]
