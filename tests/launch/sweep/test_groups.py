"""What stopped trials hold is waited for, and released if it takes too long."""

from __future__ import annotations

import types
from typing import Any

import pytest
import ray

from swav_ray.launch.sweep import groups
from swav_ray.launch.sweep.groups import drain


class Holding:
    """Stands in for the `Groups` actor: trials that hold something, of which one ends whenever it is asked."""

    def __init__(self, trials: list[str], ends: bool) -> None:
        self.trials, self.released = trials, []  # type: ignore[var-annotated]
        self._ends = ends
        self.busy = types.SimpleNamespace(remote=self._busy)
        self.release = types.SimpleNamespace(remote=self.released.append)

    def _busy(self) -> list[str]:
        if self._ends and self.trials:
            self.trials.pop()
        return list(self.trials)


@pytest.mark.parametrize(("ends", "seconds", "released"), [(True, 60.0, []), (False, -1.0, ["a", "b"])])
def test_trials_are_drained(monkeypatch: pytest.MonkeyPatch, ends: bool, seconds: float, released: list[str]) -> None:
    monkeypatch.setattr(ray, "get", lambda answer: answer)
    monkeypatch.setattr(groups, "_POLL_SECONDS", 0.0)
    holding: Any = Holding(["a", "b"], ends)
    drain(holding, seconds)
    assert holding.released == released
