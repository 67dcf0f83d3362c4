"""What reaches a service of `run.trackers`, and what becomes of a run whose service is away."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from swav_ray.config import Config, ConfigError, replace
from swav_ray.recipes import quickstart
from swav_ray.report.trackers import services, trackers
from swav_ray.report.trackers.services import Point, Run
from swav_ray.report.trackers.trackers import Trackers
from swav_ray.run.layout import PAGE, SUMMARY
from swav_ray.run.messages import Measured, Observed, Warned
from swav_ray.run.step_record import StepRecord
from swav_ray.storage.place import Place, place
from tests.run.test_metrics_log import record

QUICK = (0.01, 0.01, 20.0)


class Recorder:
    """A service that remembers; `refuses` is asked before each call."""

    def __init__(self, run: Run, refuses: Callable[[], bool] = lambda: False) -> None:
        self.run, self._refuses = run, refuses
        self.id, self.where = run.known or "their-name", "there"
        self.points: list[Point] = []
        self.notes: dict[str, str] = {}
        self.ended: list[tuple[str, str]] = []
        self.logged = threading.Event()

    def log(self, points: Sequence[Point]) -> None:
        if self._refuses():
            raise ConnectionError("no route\nto host")
        self.points += points
        if points:
            self.logged.set()

    def note(self, name: str, text: str) -> None:
        self.notes[name] = text

    def end(self, state: str, page: Path | None) -> None:
        self.ended.append((state, page.read_text() if page else ""))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """The services that were opened."""
    found: list[Recorder] = []

    def open_service(name: str, run: Run) -> Recorder:
        found.append(Recorder(run))
        return found[-1]

    monkeypatch.setattr(trackers, "open_service", open_service)
    return found


def config(*names: str) -> Config:
    return replace(quickstart(), run={"name": "mine", "trackers": names})


def run_dir(folder: Path) -> Place:
    found = place(folder) / "mine"
    (found / PAGE).write_bytes(b"<page>")
    summary = {"knn_top1": {"trained": 54.44, "pixels": 20.0}, "verdict": {"line": "it learned"}}
    (found / SUMMARY).write_bytes(json.dumps(summary).encode())
    return found


def test_a_service_gets_steps_measurements_health_and_the_page(tmp_path: Path, opened: list[Recorder]) -> None:
    said: list[str] = []
    with Trackers(config("mlflow"), run_dir(tmp_path), said.append, QUICK) as found:
        found.take(record(0, loss=2.5))
        found.take(record(1, loss=None))
        found.take(Observed({"step": 1, "word": "healthy", "sound": True, "why": "", "spread": 0.5}))
        found.take(Measured({"step": 2, "epoch": 1, "knn_top1": 50.0, "why": "text"}))
    (service,) = opened
    assert service.run.name == "mine"
    assert service.run.settings["optim.base_lr"] == quickstart().optim.base_lr
    assert [point.step for point in service.points] == [0, 1, 1, 2]
    first, refused, health, measured = (point.figures for point in service.points)
    assert first["train/loss"] == 2.5
    assert first["train/images_per_second"] == record(0).images_per_second
    assert "train/loss" not in refused
    assert "train/step" not in first
    assert health == {"health/spread": 0.5}
    assert measured == {"eval/epoch": 1.0, "eval/knn_top1": 50.0}
    assert service.points[0].time == record(0).time
    assert service.notes == {
        "health": "healthy",
        "knn_top1 trained": "54.4%",
        "knn_top1 pixels": "20.0%",
        "verdict": "it learned",
    }
    assert service.ended == [("finished", "<page>")]
    assert said == ["mlflow has its figures too: there"]


def test_a_run_that_resumes_goes_on_under_the_same_name_there(tmp_path: Path, opened: list[Recorder]) -> None:
    place_of = run_dir(tmp_path)
    for step in (0, 1):
        with Trackers(config("comet"), place_of, print, QUICK) as found:
            found.take(record(step))
    assert [service.run.known for service in opened] == ["", "their-name"]


def test_nothing_is_opened_for_a_run_that_never_had_a_step(tmp_path: Path, opened: list[Recorder]) -> None:
    with Trackers(config("mlflow", "wandb"), run_dir(tmp_path), print, QUICK) as found:
        found.take(Warned("no step yet"))
    assert opened == []


def test_a_service_that_is_away_is_said_once_and_gets_everything_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = itertools.count()
    services_opened: list[Recorder] = []

    def open_service(name: str, run: Run) -> Recorder:
        if next(tries) < 2:
            raise OSError("no such host")
        services_opened.append(Recorder(run, lambda: next(tries) < 5))
        return services_opened[-1]

    monkeypatch.setattr(trackers, "open_service", open_service)
    said: list[str] = []
    back = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        if "again" in text and "warning" not in text:
            back.set()

    with Trackers(config("mlflow"), run_dir(tmp_path), say, QUICK) as found:
        for step in range(3):
            found.take(record(step))
        assert back.wait(20)
        found.take(record(3))
    assert [point.step for point in services_opened[0].points] == [0, 1, 2, 3]
    assert said == [
        "warning: mlflow takes no figures, and is asked again: no such host",
        "mlflow has its figures too: there",
        "mlflow takes figures again",
    ]


def test_what_cannot_wait_any_longer_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = threading.Event()
    monkeypatch.setattr(trackers, "_MOST", 2)
    found_service = Recorder(Run("mine", {}), lambda: not away.is_set())
    monkeypatch.setattr(trackers, "open_service", lambda *_: found_service)
    said: list[str] = []
    warned = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        if text.startswith("warning"):
            warned.set()

    with Trackers(config("mlflow"), run_dir(tmp_path), say, QUICK) as found:
        found.take(record(0))
        assert warned.wait(20)
        for step in range(1, 6):
            found.take(record(step))
        away.set()
        assert found_service.logged.wait(20)
    assert [point.step for point in found_service.points] == [4, 5]
    assert said[2:] == ["mlflow takes figures again; 4 steps are missing there"]


def test_one_that_never_answers_does_not_hold_the_others_or_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    recorders: dict[str, Recorder] = {}

    def open_service(name: str, run: Run) -> Recorder:
        if name == "wandb":
            answered.wait()
        recorders[name] = Recorder(run)
        return recorders[name]

    monkeypatch.setattr(trackers, "open_service", open_service)
    said: list[str] = []
    with Trackers(config("wandb", "mlflow"), run_dir(tmp_path), said.append, (0.01, 0.01, 0.5)) as found:
        found.take(record(0))
    answered.set()
    assert recorders["mlflow"].ended == [("finished", "<page>")]
    assert said[1:] == ["warning: wandb has not taken everything: it is still busy; the run directory has it all"]


def test_a_service_that_refuses_at_the_end_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_service(name: str, run: Run) -> Recorder:
        raise ValueError("API key is not valid")

    monkeypatch.setattr(trackers, "open_service", open_service)
    said: list[str] = []
    with Trackers(config("comet"), run_dir(tmp_path), said.append, (60.0, 60.0, 20.0)) as found:
        found.take(record(0))
    assert said == ["warning: comet has not taken everything: API key is not valid; the run directory has it all"]


def test_a_library_that_is_missing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(services._MODULES, "comet", "no_such_module")
    with pytest.raises(ConfigError) as caught:
        Trackers(config("comet"), run_dir(tmp_path), print)
    assert str(caught.value) == (
        "run.trackers = 'comet': needs the package no_such_module: pip install 'swav_ray[trackers]'"
    )


@pytest.mark.parametrize("names", [("tensorboard",), ("mlflow", "mlflow")])
def test_a_service_that_nobody_knows_is_one_line(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^run\.trackers = .*: must be some of mlflow, wandb, comet, each once$"):
        config(*names)


def test_a_step_of_metrics_jsonl_is_what_is_sent(tmp_path: Path, opened: list[Recorder]) -> None:
    step: StepRecord = record(7, loss=1.25)
    with Trackers(config("mlflow"), run_dir(tmp_path), print, QUICK) as found:
        found.take(step)
    line = json.loads(json.dumps(step.line()))
    sent = opened[0].points[0].figures
    numbers = {name for name, value in line.items() if isinstance(value, int | float)} - {"step", "steps", "time"}
    assert {name.removeprefix("train/") for name in sent} == numbers
