"""An evaluation's directory says of what it is, and nothing else is ever resumed from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.fit.directory import ABOUT, about, claim
from swav_ray.evaluate.results.protocol import Protocol, Result
from swav_ray.storage.place import place

RESULT = Result(
    protocol=Protocol(name="linear", version=1, settings={"epochs": 100, "lr": 0.3}, source="here"),
    backbone="runs/a",
    weights="0" * 64,
    train={"place": "/train", "images": 10},
    val={"place": "/val", "images": 5},
    preprocessing={"image_size": 224},
    figures={},
)


def test_it_is_claimed_once_and_known_again(tmp_path: Path) -> None:
    folder = place(tmp_path / "linear")
    assert not claim(folder, about(RESULT))
    assert claim(folder, about(RESULT))


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (replace(RESULT, weights="1" * 64), f"weights {'0' * 64}, now {'1' * 64}"),
        (replace(RESULT, val={"place": "/other", "images": 5}), "val: place /val, now /other"),
        (replace(RESULT, preprocessing={"image_size": 96}), "preprocessing: image_size 224, now 96"),
        (
            replace(RESULT, protocol=replace(RESULT.protocol, settings={"epochs": 5, "lr": 0.3})),
            "settings: epochs 100, now 5",
        ),
        (replace(RESULT, protocol=replace(RESULT.protocol, version=2)), "version 1, now 2"),
    ],
)
def test_another_evaluation_is_named_by_what_differs(other: Result, told: str, tmp_path: Path) -> None:
    folder = place(tmp_path / "linear")
    claim(folder, about(RESULT))
    with pytest.raises(EvaluationError, match=r"holds another evaluation .* give another --out") as error:
        claim(folder, about(other))
    assert told in str(error.value)


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "linear" / "checkpoints" / "step-000000004").mkdir(parents=True)
    (tmp_path / "linear" / "checkpoints" / "step-000000004" / "manifest.json").write_text("{}")
    with pytest.raises(EvaluationError, match="which no evaluation of this kind wrote; give another --out"):
        claim(place(tmp_path / "linear"), about(RESULT))
    assert not (tmp_path / "linear" / ABOUT).exists()


@pytest.mark.parametrize("content", [b"not json", b"[]"])
def test_a_damaged_file_is_one_line(content: bytes, tmp_path: Path) -> None:
    folder = place(tmp_path / "linear")
    (folder / ABOUT).write_bytes(content)
    with pytest.raises(EvaluationError, match="is damaged or no evaluation's"):
        claim(folder, about(RESULT))
