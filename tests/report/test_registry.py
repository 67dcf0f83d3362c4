"""A table of all runs below a storage, whatever state they are in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swav_ray.report.registry import RunLine, ordered, runs_below
from swav_ray.run.history import note_failure
from swav_ray.runs import SORTS, main
from swav_ray.storage.place import place
from tests.report.page.examples import write_run, write_summary


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    write_run(tmp_path / "good")
    write_run(tmp_path / "begun", finished=False)
    trial = write_run(tmp_path / "sweeps" / "s" / "trials" / "t_1")
    write_summary(trial, 40, knn_top1={"trained": 61.0}, loss_last_epoch=4.6, verdict={"health": "stuck"})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.yaml").write_text("no_such_section: {a: 1}\n")
    (tmp_path / "good" / "refused" / "step-000000003").mkdir(parents=True)
    (tmp_path / "good" / "refused" / "step-000000003" / "config.yaml").write_text("{}\n")
    return tmp_path


def test_every_run_is_a_line(storage: Path) -> None:
    lines = {line.run: line for line in runs_below(place(storage))}
    assert list(lines) == ["begun", "broken", "good", "sweeps/s/trials/t_1"]
    good = lines["good"]
    assert (good.state, good.health, good.step, good.steps, good.knn) == ("finished", "healthy", 40, 40, 50.0)
    assert good.worker_hours == pytest.approx((20 * 0.5 + 20 * 0.5 * 2) / 3600)
    assert (lines["begun"].state, lines["begun"].knn) == ("broken off", 50.0)
    assert lines["sweeps/s/trials/t_1"].health == "stuck"
    assert lines["broken"].state == "unreadable"
    assert "no_such_section" in lines["broken"].problem


def test_a_run_that_failed_says_why(tmp_path: Path) -> None:
    note_failure(write_run(tmp_path / "given_up", finished=False), "a bucket is gone", print)
    (line,) = runs_below(place(tmp_path))
    assert (line.state, line.why) == ("failed", "a bucket is gone")


@pytest.mark.parametrize("by", SORTS)
def test_lines_are_sorted_by_any_column(by: str) -> None:
    lines = [
        RunLine("a", "finished", knn=1.0, loss=2.0),
        RunLine("b", "", knn=None),
        RunLine("c", "x", knn=3.0, loss=1),
    ]
    assert len(ordered(lines, SORTS[by])) == 3


def test_the_best_come_first_and_those_without_the_figure_last() -> None:
    lines = [RunLine("a", "x", knn=1.0, loss=2.0), RunLine("b", "x"), RunLine("c", "x", knn=3.0, loss=1.0)]
    assert [line.run for line in ordered(lines, "knn")] == ["c", "a", "b"]
    assert [line.run for line in ordered(lines, "loss")] == ["c", "a", "b"]


def test_the_command_prints_a_table_or_json(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(storage), "--sort", "knn", "--price", "3.6"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[1].split()[:4] == ["sweeps/s/trials/t_1", "finished", "stuck", "40/40"]
    assert "0.03 $" in table[1]
    assert main([str(storage), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["run"] for run in found] == ["begun", "broken", "good", "sweeps/s/trials/t_1"]
    assert found[2]["goodput"] == 0.9


def test_no_run_and_no_place_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    assert "no run lies below" in capsys.readouterr().out
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "there is no such place" in capsys.readouterr().err


@pytest.mark.s3
def test_runs_on_s3_are_listed(storage: Path, s3: str) -> None:
    for entry in place(storage).list():
        (place(s3) / entry.name).upload_file(storage / entry.name)
    assert [line.run for line in runs_below(place(s3))] == ["begun", "broken", "good", "sweeps/s/trials/t_1"]
