"""The command line: what is missing or wrong is one line and status 2; search prints what is near."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.embed.__main__ import _DTYPES, _HOW, _INDEXES, _LAYERS, main
from swav_ray.embed.clusters.folders import HOW
from swav_ray.embed.neighbours.index import KINDS
from swav_ray.embed.output import DTYPES, LAYERS
from tests.embed.small import embedded, images, table, weights


def test_the_choices_are_those_of_the_modules() -> None:
    assert (_LAYERS, _DTYPES, _HOW, _INDEXES) == (LAYERS, DTYPES, HOW, KINDS)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--checkpoint: is missing"),
        (["--checkpoint", "x"], "--data: is missing"),
        (["--checkpoint", "x", "--data", "y"], "OUT: is missing"),
        (["--checkpoint", "/nothing", "--data", "y", "z"], "/nothing: holds no weights"),
        (["--checkpoint", "x", "--data", "y", "z", "--clusters", "1"], "--clusters 1: must be auto or a number of 2"),
        (["--checkpoint", "x", "--data", "y", "z", "--neighbors", "1"], "--neighbors: no such option; did you mean"),
        (["search", "/nothing", "x.jpg"], "/nothing: holds no embeddings"),
    ],
)
def test_wrong_arguments_are_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"swav_ray: {told}")
    assert shown.count("\n") == 1


def test_what_is_wrong_is_said_before_ray_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--checkpoint", str(weights(tmp_path, head=False)), "--data", str(images(tmp_path / "images"))]
    assert main([*words, str(tmp_path / "out"), "--layer", "projection"]) == 2
    assert "holds no projection head; use --layer pooled" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "out"), "--heads"]) == 2
    assert "holds no prototypes; use --clusters K" in capsys.readouterr().err
    assert main([*words[:3], str(tmp_path / "nothing"), str(tmp_path / "out")]) == 2
    assert "there is nothing; give a folder or s3://bucket/prefix of images" in capsys.readouterr().err


def test_search_prints_the_nearest_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, _ = embedded(tmp_path)
    uris = table(output)["uri"].to_pylist()[:2]
    assert main(["search", output.folder.uri, *uris, "--neighbours", "3"]) == 0
    shown = capsys.readouterr().out
    assert all(uri in shown for uri in uris)
    assert shown.count("1.0000") >= 2
    assert main(["search", output.folder.uri, "/nothing.jpg"]) == 2
