"""Ray still puts its sockets where temp_dir.py says; a path that is too long is refused with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.config import ConfigError
from swav_ray.launch.ray_internals.temp_dir import check_temp_dir
from tests.launch.ray_internals.contract import Contract

TEMP_DIR = Contract(
    mend="swav_ray/launch/ray_internals/temp_dir.py",
    breaks="a TMPDIR that is too long for Ray's sockets is told after data have been written, without what to do",
)


def test_ray_s_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = TEMP_DIR.name("ray._common.utils:get_default_ray_temp_dir")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    TEMP_DIR.check(folder() == str(tmp_path / "ray"), f"get_default_ray_temp_dir is {folder()} for {tmp_path}")


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_that_is_too_long_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(name, "/" + 60 * "x")
    with pytest.raises(ConfigError, match=rf"^{name} = .*bytes too long for Ray's sockets.*RAY_TMPDIR to a shorter"):
        check_temp_dir()
    monkeypatch.setenv(name, "/tmp")
    check_temp_dir()
