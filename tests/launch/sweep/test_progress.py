"""What a sweep prints about a trial is what the trial's directory says, also if the trial could not say it itself."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest
import ray

from swav_ray.launch.sweep import progress as progress_module
from swav_ray.launch.sweep.progress import Progress
from swav_ray.launch.sweep.trial_directories import read_trial
from swav_ray.report.terminal import Terminal
from swav_ray.storage.place import place
from tests.report.sweep.examples import write_trial


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trials whose machines were released."""
    names: list[str] = []
    groups = types.SimpleNamespace(release=types.SimpleNamespace(remote=names.append))
    monkeypatch.setattr(ray, "get_actor", lambda _: groups)
    monkeypatch.setattr(ray, "get", lambda answer: answer)
    return names


def progress(folder: Path) -> Progress:
    made = Progress("groups", place(folder / "trials").uri, "knn")
    made.setup()
    return made


def trial(name: str, **last: Any) -> Any:
    return types.SimpleNamespace(trial_id=name, config={"train.temperature": 0.12345}, last_result=last)


def test_a_trial_that_the_scheduler_stopped_is_stopped_in_its_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_trial(tmp_path, "t_0", "running", {"train.temperature": 0.1}, [50.0])
    run_dir = place(tmp_path / "trials" / "t_0")
    stopped = trial("t_0", whole=False, run_dir=run_dir.uri, epochs=1.0)
    progress(tmp_path).on_trial_complete(0, [], stopped)
    assert read_trial(run_dir)["state"] == "stopped"
    assert read_trial(run_dir)["reason"] == "by the scheduler after epoch 1"
    assert capsys.readouterr().out == "trial t_0 is stopped after epoch 1\n"


@pytest.mark.parametrize(
    ("state", "reason", "ended"),
    [
        ("collapsed", "the loss is stuck", "has collapsed: the loss is stuck"),
        ("failed", "not finite", "has failed: not finite"),
        ("running", "", "has failed: its actor died; error.txt in tune/ says why"),
    ],
)
def test_a_trial_that_ended_with_an_error_says_why_and_holds_nothing(
    released: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], state: str, reason: str, ended: str
) -> None:
    write_trial(tmp_path, "t_0", state, {"train.temperature": 0.1}, [50.0], reason=reason)
    progress(tmp_path).on_trial_error(0, [], trial("t_0"))
    assert capsys.readouterr().out == f"trial t_0 {ended}\n"
    about = read_trial(place(tmp_path / "trials" / "t_0"))
    assert f"has {about['state']}: {about['reason']}" == ended
    assert released == ["t_0"]


def test_a_trial_that_never_started_has_failed(
    released: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress(tmp_path).on_trial_error(0, [], trial("t_0"))
    assert capsys.readouterr().out == "trial t_0 has failed: it could not start; its error.txt in tune/ says why\n"


def test_values_and_measurements_are_printed_with_few_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress(tmp_path).on_trial_start(0, [], trial("t_0"))
    progress(tmp_path).on_trial_result(0, [], trial("t_0"), {"epochs": 2.0, "knn_top1": 51.23456})
    assert capsys.readouterr().out.splitlines() == [
        "trial t_0 starts: train.temperature 0.123",
        "trial t_0, epoch 2: knn 51.23",
    ]


def test_a_sweep_whose_trials_report_nothing_says_so_every_15_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_module, "Terminal", lambda seconds: Terminal(seconds, lambda: now[0]))
    made = progress(tmp_path)
    for second in range(1, 32):
        now[0] = float(second)
        made.on_step_end(0, [])
    waits = "no trial has reported for {} s: they start, train or wait for room\n"
    assert capsys.readouterr().out == waits.format(15) + waits.format(30)
    made.on_trial_result(0, [], trial("t_0"), {"epochs": 1.0, "knn_top1": 50.0})
    now[0] = 46.0
    made.on_step_end(0, [])
    assert capsys.readouterr().out == "trial t_0, epoch 1: knn 50\n" + waits.format(15)
