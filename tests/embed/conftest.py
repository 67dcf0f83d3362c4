"""Parts of 16 images, so that a few images make several."""

from __future__ import annotations

import pytest

from swav_ray.embed import output as outputs


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_PART_ROWS", 16)
