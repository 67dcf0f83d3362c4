"""`python -m swav_ray.export`: status 0 and an export, or status 2 and one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.export import main
from tests.weights import foreign


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "x.pth").write_bytes(foreign.saved(foreign.published(foreign.model().state_dict())))
    return str(tmp_path / "x.pth")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that the command ends on."""
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_it_writes_an_export_and_says_what_was_verified(
    tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert main(["--checkpoint", file, "--format", "safetensors", out]) == 0
    said = capsys.readouterr().out
    assert "SwAV as published" in said
    assert "verified by swav_ray.load_backbone" in said
    assert "largest difference 0" in said
    assert (tmp_path / "out" / "resnet18.safetensors").is_file()


def test_an_unknown_format_has_a_nearest_name(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "--checkpoint", file, "--format", "safetensor", "out")
    assert "--format safetensor: no such format; did you mean safetensors?" in line


def test_missing_arguments_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--checkpoint, --format" in refused(capsys, "out")
    assert "--license: no such option; did you mean --licence?" in refused(
        capsys, "--checkpoint", "c", "--format", "onnx", "--license", "MIT", "out"
    )


def test_a_place_without_weights_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "--checkpoint", str(tmp_path), "--format", "onnx", str(tmp_path / "out"))
    assert "holds no weights; give a run directory" in line


def test_a_folder_of_something_else_and_one_that_cannot_be_made_are_named(
    tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "--checkpoint", file, "--format", "safetensors", str(tmp_path))
    assert "holds files of something else; give another OUT, or --overwrite" in line
    line = refused(capsys, "--checkpoint", file, "--format", "safetensors", f"{file}/out")
    assert f"{file}" in line
