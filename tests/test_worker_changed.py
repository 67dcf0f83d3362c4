"""A worker says once that images have changed since they were listed, and in the end how often it met such."""

from __future__ import annotations

import types
from typing import Any

from swav_ray import worker


def test_changed_images_are_said_once_and_counted() -> None:
    said: list[str] = []
    chief: Any = types.SimpleNamespace(_changed_images=0, _chief=True, _warn=said.append)
    for images in (2, 1, 4):
        worker._Worker._changed(chief, images)
    assert chief._changed_images == 7
    assert len(said) == 1
    assert said[0].startswith("2 images of a step were written to S3 after the list of images was made")
