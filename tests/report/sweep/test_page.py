"""sweep.html: whole, escaped, and honest about what is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from swav_ray import settings
from swav_ray.config import replace
from swav_ray.recipes import quickstart
from swav_ray.report.sweep.page import write_report
from swav_ray.report.sweep.record import SweepRecord, read_sweep
from swav_ray.storage.place import place
from tests.report.sweep.examples import write_search, write_trial


def test_the_page_needs_no_other_file_and_escapes_what_it_shows(found: SweepRecord, tmp_path: Path) -> None:
    write_report(found, place(tmp_path))
    page = (tmp_path / "sweep.html").read_text()
    assert "Population-based" not in page
    assert page.count("data:image/png;base64,") == 3  # and the learning curves are drawn by the page itself
    assert "Learning curves, kNN top-1, %</figcaption>" in page
    assert "no &lt;room&gt;" in page
    assert re.findall(r"(?:https?:)?//[a-z]", re.sub(r"base64,[^\"]*", "", page)) == []
    for name in ("sweep_curves", "sweep_cost", "sweep_parallel", "sweep_importance"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_an_empty_sweep_has_a_page_too(tmp_path: Path) -> None:
    write_search(tmp_path, ["knn"], {"a": "x"})
    empty = read_sweep(place(tmp_path))
    write_report(empty, place(tmp_path))
    assert empty.best is None
    page = (tmp_path / "sweep.html").read_text()
    assert "no trial has finished" in page
    assert "there is no best.yaml" in page


def test_the_page_marks_the_trial_with_the_recipes_values_and_names_a_missing_picture(tmp_path: Path) -> None:
    write_search(tmp_path, ["knn"], {"train.temperature": "float"}, own={"train.temperature": 0.1})
    write_trial(tmp_path, "t_0", "finished", {"train.temperature": 0.1}, [40.0, 50.0])
    write_report(read_sweep(place(tmp_path)), place(tmp_path))
    page = (tmp_path / "sweep.html").read_text()
    assert "<td>t_0 (recipe)</td>" in page
    assert "No picture of the parameters&#39; importance: it needs 8 trials" in page


def test_the_page_says_what_must_be_beaten_the_recipe_and_its_overrides(tmp_path: Path) -> None:
    write_search(tmp_path, ["knn"], {"train.temperature": "float"})
    file = tmp_path / "sweep.yaml"
    config = settings.to_dict(replace(quickstart(), optim={"base_lr": 1.5}))
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"config": config}))
    write_trial(tmp_path, "t_0", "finished", {"train.temperature": 0.1}, [40.0, 50.0])
    summary = {"knn_top1": {"trained": 50.0, "untrained": 34.0, "pixels": 30.0}}
    (tmp_path / "trials" / "t_0" / "summary.json").write_text(json.dumps(summary))
    found = read_sweep(place(tmp_path))
    assert "to be beaten: untrained networks 34.0%, raw pixels 30.0%" in found.summary_lines()
    write_report(found, place(tmp_path))
    page = (tmp_path / "sweep.html").read_text()
    assert ">untrained network</text>" in page
    assert "<b>quickstart</b>, with these overrides" in page
    assert "<code>optim.base_lr</code></td><td>1.5</td><td>2</td>" in page
