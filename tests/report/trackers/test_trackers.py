"""What reaches a service of `run.trackers`, and what becomes of a run whose service is away."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from swav_ray.config import Config, ConfigError, replace
from swav_ray.recipes import quickstart
from swav_ray.report.trackers import services, trackers
from swav_ray.report.trackers.process import Home
from swav_ray.report.trackers.services import Point, Run
from swav_ray.report.trackers.trackers import Trackers
from swav_ray.run.layout import PAGE, SUMMARY
from swav_ray.run.messages import Measured, Observed, Warned
from swav_ray.run.step_record import StepRecord
from swav_ray.storage.place import Place, PlaceError, place
from tests.run.test_metrics_log import record

QUICK = (0.01, 0.01, 20.0)


class Recorder:
    """A service that remembers; `refuses` is asked before each call."""

    id = where = ""

    def __init__(
        self, refuses: Callable[[], bool] = lambda: False, opening: Callable[[], object] = lambda: None
    ) -> None:
        self._refuses, self._opening = refuses, opening
        self.killed = False
        self.points: list[Point] = []
        self.notes: dict[str, str] = {}
        self.ended: list[tuple[str, str]] = []
        self.logged = threading.Event()

    def open(self, run: Run) -> None:
        self._opening()
        self.run, self.id, self.where = run, run.known or "their-name", "there"

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

    @property
    def alive(self) -> bool:
        return not self.killed

    def kill(self) -> None:
        self.killed = True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """The services that were opened."""
    found: list[Recorder] = []

    def open_service(name: str, home: Home) -> Recorder:
        found.append(Recorder())
        return found[-1]

    monkeypatch.setattr(trackers, "RemoteService", open_service)
    return found


def config(*names: str) -> Config:
    return replace(quickstart(), run={"name": "mine", "trackers": names})


def run_dir(folder: Path) -> Place:
    found = place(folder) / "mine"
    (found / PAGE).write_bytes(b"<page>")
    summary = {"knn_top1": {"trained": 54.44, "pixels": 20.0}, "verdict": {"line": "it learned"}}
    (found / SUMMARY).write_bytes(json.dumps(summary).encode())
    return found


@contextlib.contextmanager
def sending(
    config: Config, run_dir: Place, say: Callable[[str], object], seconds: tuple[float, float, float]
) -> Iterator[Trackers]:
    found = Trackers(config, run_dir, say, seconds=seconds)
    yield found
    found.close()


def test_a_service_gets_steps_measurements_health_and_the_page(tmp_path: Path, opened: list[Recorder]) -> None:
    said: list[str] = []
    with sending(config("mlflow"), run_dir(tmp_path), said.append, QUICK) as found:
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
        with sending(config("comet"), place_of, print, QUICK) as found:
            found.take(record(step))
    assert [service.run.known for service in opened] == ["", "their-name"]


def test_nothing_is_opened_for_a_run_that_never_had_a_step(tmp_path: Path, opened: list[Recorder]) -> None:
    with sending(config("mlflow", "wandb"), run_dir(tmp_path), print, QUICK) as found:
        found.take(Warned("no step yet"))
    assert opened == []


def test_a_service_that_is_away_is_said_once_and_gets_everything_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = itertools.count()
    services_opened: list[Recorder] = []

    def opening() -> None:
        if next(tries) < 2:
            raise OSError("no such host")

    def open_service(name: str, home: Home) -> Recorder:
        services_opened.append(Recorder(lambda: next(tries) < 5, opening))
        return services_opened[-1]

    monkeypatch.setattr(trackers, "RemoteService", open_service)
    said: list[str] = []
    back = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        if "again" in text and "warning" not in text:
            back.set()

    with sending(config("mlflow"), run_dir(tmp_path), say, QUICK) as found:
        for step in range(3):
            found.take(record(step))
        assert back.wait(20)
        found.take(record(3))
    assert [point.step for point in services_opened[-1].points] == [0, 1, 2, 3]
    assert all(service.killed for service in services_opened)
    assert said == [
        "warning: mlflow takes no figures, and is asked again: no such host",
        "mlflow has its figures too: there",
        "mlflow takes figures again",
    ]


def test_what_cannot_wait_any_longer_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = threading.Event()
    monkeypatch.setattr(trackers, "_MOST", 2)
    found_service = Recorder(lambda: not away.is_set())
    monkeypatch.setattr(trackers, "RemoteService", lambda *_: found_service)
    said: list[str] = []
    warned = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        if text.startswith("warning"):
            warned.set()

    with sending(config("mlflow"), run_dir(tmp_path), say, QUICK) as found:
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

    def open_service(name: str, home: Home) -> Recorder:
        recorders[name] = Recorder(opening=answered.wait if name == "wandb" else lambda: None)
        return recorders[name]

    monkeypatch.setattr(trackers, "RemoteService", open_service)
    said: list[str] = []
    with sending(config("wandb", "mlflow"), run_dir(tmp_path), said.append, (0.01, 0.01, 0.5)) as found:
        found.take(record(0))
    answered.set()
    assert recorders["wandb"].killed
    assert recorders["mlflow"].ended == [("finished", "<page>")]
    assert said[1:] == ["warning: wandb has not taken everything: it is still busy; the run directory has it all"]


def test_a_service_that_refuses_at_the_end_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opening() -> None:
        raise ConnectionError("API key is not valid")

    monkeypatch.setattr(trackers, "RemoteService", lambda *_: Recorder(opening=opening))
    said: list[str] = []
    with sending(config("comet"), run_dir(tmp_path), said.append, (60.0, 60.0, 20.0)) as found:
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
    with sending(config("mlflow"), run_dir(tmp_path), print, QUICK) as found:
        found.take(step)
    line = json.loads(json.dumps(step.line()))
    sent = opened[0].points[0].figures
    numbers = {name for name, value in line.items() if isinstance(value, int | float)} - {"step", "steps", "time"}
    assert {name.removeprefix("train/") for name in sent} == numbers


def test_one_that_is_abandoned_is_ended_at_once_and_not_opened_again(tmp_path: Path, opened: list[Recorder]) -> None:
    found = Trackers(config("mlflow"), run_dir(tmp_path), print, seconds=QUICK)
    found.take(record(0))
    while not opened or not opened[0].logged.wait(20):
        pass
    found.abandon()
    found.take(record(1))
    found._senders[0]._thread.join(20)
    assert (len(opened), opened[0].killed, opened[0].ended) == (1, True, [])


def test_a_process_that_has_ended_is_started_again(tmp_path: Path, opened: list[Recorder]) -> None:
    with sending(config("mlflow"), run_dir(tmp_path), print, QUICK) as found:
        found.take(record(0))
        while not opened or not opened[0].logged.wait(20):
            pass
        opened[0].kill()
        found.take(record(1))
    assert [[point.step for point in service.points] for service in opened] == [[0], [1]]
    assert opened[1].run.known == "their-name"


def test_a_run_directory_that_cannot_be_read_at_the_end_costs_the_end_nothing(
    tmp_path: Path, opened: list[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Place) -> str:
        raise PlaceError("the storage is away")

    monkeypatch.setattr(trackers, "state_of", away)
    with sending(config("mlflow"), run_dir(tmp_path), print, QUICK) as found:
        found.take(record(0))
    assert opened[0].ended == [("", "<page>")]
