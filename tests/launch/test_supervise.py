"""A controller of Ray Train that dies is replaced, at most so often, and what it held is released."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.train import ControllerError

from swav_ray.launch import supervise as module
from swav_ray.launch.supervise import supervise
from swav_ray.storage.place import Place, place
from tests.launch.test_monitor import mailbox


class Handle:
    """A mailbox called as an actor is; `ray.get` hands its answers through."""

    def __init__(self, mailbox: Any) -> None:
        self.mailbox = mailbox

    def __getattr__(self, name: str) -> Any:
        class Method:
            remote = staticmethod(getattr(self.mailbox, name))

        return Method


class Trainers:
    """Makes trainers that end one after the other as they are told to: with an error, or in good order."""

    def __init__(self, *ends: BaseException | None) -> None:
        self.ends = list(ends)

    def __call__(self) -> Any:
        return self

    def fit(self) -> None:
        if (end := self.ends.pop(0)) is not None:
            raise end


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The placement groups that are released."""
    found: list[Any] = []
    monkeypatch.setattr(module.ray, "get", lambda answer: answer)
    monkeypatch.setattr(module.ray.util, "remove_placement_group", found.append)
    return found


@pytest.mark.parametrize("death", [RayActorError(), ControllerError(RuntimeError("Traceback\nthe node is lost"))])
def test_a_controller_that_dies_is_replaced_and_what_it_held_released(
    tmp_path: Path, released: list[Any], death: Exception
) -> None:
    monitor, said = mailbox(), []
    monitor.note_started("its placement group")
    trainers = Trainers(death, None)
    supervise(trainers, Handle(monitor), place(tmp_path), said.append)
    assert trainers.ends == []
    assert released == ["its placement group"]
    assert len(said) == 1
    assert said[0].startswith("Ray Train's controller died, starting another: ")


def test_controllers_that_die_before_any_worker_starts_end_the_run(tmp_path: Path, released: list[Any]) -> None:
    monitor, trainers = mailbox(), Trainers(*[RayActorError() for _ in range(9)])
    supervise(trainers, Handle(monitor), place(tmp_path), lambda _: None)
    assert len(trainers.ends) == 4
    assert "controller died 5 times in a row" in monitor.given_up()
    assert released == []


def test_other_errors_are_raised(tmp_path: Path, released: list[Any]) -> None:
    with pytest.raises(ValueError, match="no such thing"):
        supervise(Trainers(ValueError("no such thing")), Handle(mailbox()), place(tmp_path), lambda _: None)
    assert released == []


def test_another_controller_waits_until_storage_is_back(
    tmp_path: Path, released: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [OSError("no route to host"), True]
    said: list[str] = []

    def exists(_: Place) -> bool:
        answer = answers.pop(0) if answers else False
        if isinstance(answer, OSError):
            raise answer
        return bool(answer)

    monkeypatch.setattr(Place, "exists", exists)
    monkeypatch.setattr("time.sleep", lambda _: None)
    supervise(Trainers(RayActorError(), None), Handle(mailbox()), place(tmp_path), said.append)
    assert "no route to host" in said[0]
    assert "starting another" in said[1]
    assert released == []


def test_ray_trains_snapshot_goes_with_a_finished_run_and_stays_with_a_stopped_one(
    tmp_path: Path, released: list[Any]
) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "snapshot.json").write_text("{}")
    supervise(Trainers(None), Handle(mailbox()), place(tmp_path), lambda _: None)
    assert (tmp_path / "ray").exists()
    (tmp_path / "summary.json").write_text(json.dumps({}))
    supervise(Trainers(None), Handle(mailbox()), place(tmp_path), lambda _: None)
    assert not (tmp_path / "ray").exists()
    assert released == []


def test_a_snapshot_that_cannot_be_deleted_leaves_the_run_finished(
    tmp_path: Path, released: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "summary.json").write_text("{}")
    said: list[str] = []

    def fails(self: Place) -> None:
        raise OSError("directory not empty")

    monkeypatch.setattr(Place, "delete_tree", fails)
    supervise(Trainers(None), Handle(mailbox()), place(tmp_path), said.append)
    assert said == ["Ray Train's snapshot could not be deleted: directory not empty"]
