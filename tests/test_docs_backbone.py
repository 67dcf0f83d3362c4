"""Every Python snippet of "Use the backbone" runs as it stands, one after the other, beside a run and some photos."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from swav_ray import settings
from swav_ray.config import replace
from swav_ray.recipes import quickstart
from swav_ray.run import layout
from swav_ray.storage.place import place
from swav_ray.training import checkpoint
from swav_ray.training.learner import Learner

PAGE = Path(__file__).parents[1] / "docs" / "backbone.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def photo(level: int) -> bytes:
    sink = io.BytesIO()
    pixels = np.random.default_rng(level).integers(level, level + 50, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).save(sink, "JPEG")
    return sink.getvalue()


def test_every_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    config = replace(quickstart(), model={"width": 0.125, "hidden_dim": 6, "output_dim": 4, "prototypes": (5,)})
    run_dir = place(tmp_path / "runs" / "quickstart")
    (run_dir / layout.CONFIG).write_bytes(settings.to_yaml(config).encode())
    checkpoint.write(run_dir, checkpoint.snapshot(Learner(config, 23), 920))
    (tmp_path / "photo.jpg").write_bytes(photo(100))
    for part in ("train", "val"):
        for label, level in (("dark", 20), ("light", 180)):
            folder = tmp_path / "photos" / part / label
            folder.mkdir(parents=True)
            for index in range(3):
                (folder / f"{index}.jpg").write_bytes(photo(level + index))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    assert len(SNIPPETS) == 4
    for snippet in SNIPPETS:
        exec(compile(snippet, str(PAGE), "exec"), names)
    assert names["features"].shape == (1, 64)
    assert names["cluster"].shape == (1,)
    assert capsys.readouterr().out == "100.0% of the held-out images\n"
    assert names["about"]["architecture"]["feature_dim"] == 64
    assert names["about"]["held_out"] == (run_dir / layout.HELD_OUT).uri


def test_the_probe_has_ten_lines() -> None:
    (probe,) = [snippet for snippet in SNIPPETS if "LogisticRegression" in snippet]
    assert len([line for line in probe.splitlines() if line]) == 10
