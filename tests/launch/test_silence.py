"""Whatever a run does before it trains, a person who watches it knows what it waits for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray

from swav_ray.launch import train
from swav_ray.launch.ray_internals.local_ray import LocalRay
from swav_ray.report.terminal import Terminal
from tests.launch.conftest import tiny
from tests.report.test_terminal import LIMIT, Clock


@pytest.mark.parametrize(
    ("slow", "said"),
    [
        ("swav_ray.launch.train._check_data", "listing the images: 15 s"),
        ("swav_ray.launch.train.connect", "starting Ray: 15 s"),
        ("swav_ray.launch.train.check_room", "starting 1 worker: 15 s"),
        ("swav_ray.launch.train._fit", "starting 1 worker: 15 s"),
        ("ray.shutdown", "ending Ray: 15 s"),
    ],
)
def test_each_phase_names_itself(
    slow: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    terminal = Terminal(10.0, clock)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(train, "Terminal", lambda _: terminal)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    for name in ("_check_data", "check_room", "_begin", "_fit"):
        monkeypatch.setattr(train, name, lambda *_, **__: None)
    monkeypatch.setattr(train, "connect", lambda _: LocalRay({}))

    def wait(*_: Any, **__: Any) -> LocalRay:
        clock.now += LIMIT
        terminal.quiet()
        return LocalRay({})

    monkeypatch.setattr(slow, wait)
    assert train.train(tiny(tmp_path, tmp_path, "silent")) is None
    assert capsys.readouterr().out.splitlines() == [said]
