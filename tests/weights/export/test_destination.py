"""An export replaces itself and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from swav_ray.storage.place import place
from swav_ray.weights.export.destination import RECORD, check, write
from swav_ray.weights.read import WeightsError

RECORD_OF_A = {"format": "timm", "source": "a.pth", "source_sha256": "aa"}


def files(folder: Path, **contents: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name, text in contents.items():
        (folder / name).write_text(text)
    return [folder / name for name in contents]


def test_the_same_export_may_be_written_again_and_leaves_no_file_of_the_earlier_one(tmp_path: Path) -> None:
    out = place(tmp_path / "out")
    write(out, files(tmp_path / "one", old="1", README="1"), RECORD_OF_A)
    check(out, "aa", "timm", ".safetensors", overwrite=False)
    write(out, files(tmp_path / "two", new="2", README="2"), RECORD_OF_A)
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"new", "README", RECORD}
    assert json.loads((tmp_path / "out" / RECORD).read_text())["files"] == ["new", "README"]


@pytest.mark.parametrize(("sha256", "kind"), [("bb", "timm"), ("aa", "onnx")])
def test_the_export_of_other_weights_or_another_format_is_not_replaced(tmp_path: Path, sha256: str, kind: str) -> None:
    out = place(tmp_path / "out")
    write(out, files(tmp_path / "one", old="1"), RECORD_OF_A)
    with pytest.raises(WeightsError, match=r"holds the export of a\.pth as timm; give another OUT, or --overwrite"):
        check(out, sha256, kind, ".pth", overwrite=False)
    check(out, sha256, kind, ".pth", overwrite=True)


def test_somebodys_files_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(WeightsError, match="holds files of something else; give another OUT, or --overwrite"):
        check(place(tmp_path), "aa", "timm", ".safetensors", overwrite=False)
    check(place(tmp_path), "aa", "timm", ".safetensors", overwrite=True)


def test_a_file_is_no_folder_even_to_overwrite(tmp_path: Path) -> None:
    (tmp_path / "out.onnx").write_text("x")
    with pytest.raises(WeightsError, match=r"out\.onnx: is a file; OUT is a folder"):
        check(place(tmp_path / "out.onnx"), "aa", "onnx", ".onnx", overwrite=True)


def test_a_folder_that_cannot_be_made_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(WeightsError, match=r"out: cannot be written, since .*file is a file; give another OUT"):
        check(place(tmp_path / "file" / "out"), "aa", "timm", ".safetensors", overwrite=False)
    monkeypatch.setattr(os, "access", lambda *_: False)  # nothing is forbidden to root
    with pytest.raises(WeightsError, match="is not writable; give another OUT"):
        check(place(tmp_path / "new" / "out"), "aa", "timm", ".safetensors", overwrite=False)


def test_the_name_of_a_file_is_not_taken_for_a_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"out\.onnx: OUT is a folder, which gets the weights, .*; give out$"):
        check(place(tmp_path / "out.onnx"), "aa", "onnx", ".onnx", overwrite=False)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    made = [*files(tmp_path / "one", weights="1"), tmp_path / "one" / "absent"]
    with pytest.raises(FileNotFoundError):
        write(place(tmp_path / "out"), made, RECORD_OF_A)
    assert list(place(tmp_path / "out").list()) == []
