"""What a run cannot do without waits for storage, says so once, and does not wait for what no time mends."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from swav_ray.storage import patience
from swav_ray.storage.patience import persistently

FULL = OSError(errno.ENOSPC, "No space left on device")


class Clock:
    """Time that passes only while something sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = 0.0
        monkeypatch.setattr(patience.time, "monotonic", lambda: self.time)
        monkeypatch.setattr(patience.time, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def answers(*them: Any) -> Any:
    """A function that returns or raises one after the other."""
    left = list(them)

    def do() -> Any:
        answer = left.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return do


def test_what_succeeds_is_done_once_and_says_nothing(clock: Clock) -> None:
    said: list[str] = []
    assert persistently(answers("written"), said.append) == "written"
    assert (said, clock.time) == ([], 0.0)


def test_a_full_disk_is_waited_for_and_said_once(clock: Clock) -> None:
    said: list[str] = []
    assert persistently(answers(FULL, FULL, FULL, "written"), said.append) == "written"
    assert said == ["storage is unavailable or full, waiting for it: [Errno 28] No space left on device"]
    assert clock.time > 0


def test_after_its_time_the_error_is_raised(clock: Clock) -> None:
    with pytest.raises(OSError, match="No space left"):
        persistently(answers(*[FULL] * 99), lambda _: None, seconds=60.0)
    assert 60 < clock.time < 80


@pytest.mark.parametrize("error", [FileNotFoundError(), PermissionError(), NotADirectoryError(), ValueError()])
def test_what_no_waiting_mends_is_raised_at_once(clock: Clock, error: Exception) -> None:
    with pytest.raises(type(error)):
        persistently(answers(error, "written"), lambda _: None)
    assert clock.time == 0.0
