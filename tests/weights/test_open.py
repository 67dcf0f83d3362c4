"""A name of weights is a place or a name on the Hub, and stays the same one in another folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.weights.open import absolute


def test_a_name_for_another_process_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("runs/mine") == f"{tmp_path}/runs/mine"
    for name in ("", "/runs/mine", "s3://bucket/runs/mine", "hf://org/name/x.pth@v1"):
        assert absolute(name) == name
