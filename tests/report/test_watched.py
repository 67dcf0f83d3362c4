"""A run is watched by its files: what is new, what is late, and when it is over."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from swav_ray.report.watched import WatchedRun
from swav_ray.run import measurements
from swav_ray.run.history import note_failure
from swav_ray.run.state import FINISHED, RUNNING
from swav_ray.storage.place import Place, place
from swav_ray.watch import main, watch
from tests.report.page.examples import BEGAN, step_line, write_lines, write_run, write_summary


def begun(folder: Path, steps: int) -> Place:
    """A run that another machine trains, of which so many steps are there."""
    run_dir = write_run(folder, finished=False)
    write_lines(run_dir / "metrics.jsonl", [step_line(step, 240, 4.0 - step / 100) for step in range(steps)])
    (run_dir / "running.json").write_bytes(b'{"host": "another", "pid": 1, "processes": "x", "started": 0}')
    return run_dir


def test_new_steps_are_read_once_and_added(tmp_path: Path) -> None:
    run_dir = begun(tmp_path / "r", 20)
    run = WatchedRun(run_dir, lambda: BEGAN + 21)
    run.look()
    assert (run.state, run.progress.step, run.progress.steps, len(run.progress.losses)) == (RUNNING, 20, 240, 20)
    with (tmp_path / "r" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "cut sho')
    run.look()
    assert run.progress.step == 20
    write_lines(run_dir / "metrics.jsonl", [step_line(step, 240, 3.0) for step in range(30)])
    run.look()
    assert run.progress.step == 30
    assert run.progress.knn[-1][0] == 4.0
    assert run.progress.health == "healthy"
    assert run.progress.eta == pytest.approx(210 * 0.5)


def test_a_run_that_went_back_to_a_checkpoint_is_read_anew(tmp_path: Path) -> None:
    run_dir = begun(tmp_path / "r", 40)
    run = WatchedRun(run_dir, lambda: BEGAN + 31)
    run.look()
    write_lines(run_dir / "metrics.jsonl", [step_line(step, 240, 2.0) for step in range(10)])
    run.look()
    assert (run.progress.step, list(run.progress.losses)) == (10, [2.0] * 10)


def test_a_late_step_is_said(tmp_path: Path) -> None:
    run = WatchedRun(begun(tmp_path / "r", 20), lambda: BEGAN + 20 + 75)
    run.look()
    assert run.progress.now == "no new step for 1 min 15 s"
    assert run.line().startswith("r: running  epoch 2/40  step 20/240  loss 3.8100 (ln K 4.61)  kNN 50.0% ± 0.0  ")


def test_knn_has_its_error_though_it_was_watched_before_there_was_a_held_out_image(tmp_path: Path) -> None:
    run_dir = begun(tmp_path / "r", 20)
    run = WatchedRun(run_dir, lambda: BEGAN + 21)
    measurements.append(run_dir, {"step": 20, "epochs": 5.0, "knn_top1": 60.0, "knn_error": 1.5})
    run.look()
    assert run.progress.knn[-1] == (5.0, 60.0, 1.5)


def test_watching_ends_with_the_run_and_is_never_silent(tmp_path: Path) -> None:
    run_dir = begun(tmp_path / "r", 20)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            write_summary(run_dir, 240)

    console = Console(file=io.StringIO(), width=80)
    run = WatchedRun(run_dir)
    watch(run, console, sleep=sleep)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert run.state == FINISHED
    assert len(lines) == 4
    assert max(waited) < 15
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    watch(WatchedRun(run_dir), terminal, sleep=sleep)
    assert terminal.file.getvalue().endswith("r: finished\n")  # type: ignore[attr-defined]


def test_a_run_that_failed_says_why(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "r", finished=False)
    note_failure(run_dir, "a bucket is gone", print)
    plain, terminal = Console(file=io.StringIO()), Console(file=io.StringIO(), force_terminal=True, color_system=None)
    watch(WatchedRun(run_dir), plain)
    watch(WatchedRun(run_dir), terminal)
    assert plain.file.getvalue().endswith("healthy  a bucket is gone\n")  # type: ignore[attr-defined]
    assert terminal.file.getvalue().endswith("r: failed, a bucket is gone\n")  # type: ignore[attr-defined]


def test_what_is_no_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main([write_run(tmp_path / "r").uri, "--once"]) == 0
    assert capsys.readouterr().out.startswith("r: finished")


@pytest.mark.s3
def test_a_run_on_s3_is_watched_too(tmp_path: Path, s3: str) -> None:
    run_dir = write_run(tmp_path / "r")
    for entry in run_dir.list():
        (place(s3) / "r" / entry.name).upload_file(tmp_path / "r" / entry.name)
    run = WatchedRun(place(s3) / "r")
    run.look()
    assert (run.state, run.progress.step) == (FINISHED, 40)
