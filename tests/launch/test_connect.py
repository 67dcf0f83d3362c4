"""Ray that does not come up is one line."""

from __future__ import annotations

from typing import Any

import pytest

from swav_ray.launch import connect


def fails_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(**_: Any) -> None:
        raise error

    monkeypatch.setattr(connect, "start_ray", start)
    monkeypatch.setattr(connect.ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for name in ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "RAY_DATA_DISABLE_PROGRESS_BARS", *connect._SETTINGS):
        monkeypatch.setenv(name, "0")


def test_a_start_that_times_out_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(Exception("The current node timed out during startup."), monkeypatch)
    with pytest.raises(OSError, match=r"Ray did not start: The current node timed out during startup. Free") as told:
        connect.connect(logs=False)
    assert "\n" not in str(told.value)


def test_a_mistake_of_ours_keeps_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(TypeError("no such option"), monkeypatch)
    with pytest.raises(TypeError, match="no such option"):
        connect.connect(logs=False)
