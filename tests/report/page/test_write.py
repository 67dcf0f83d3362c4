"""A run's page says what its directory holds, leaves out what is not there with a reason, and takes text for text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from swav_ray.config import ConfigError, replace
from swav_ray.recipes import quickstart
from swav_ray.report.page.gallery import Gallery
from swav_ray.report.page.run_record import RunRecord, read_run
from swav_ray.report.page.write import of_run, of_several, write_page
from swav_ray.storage.place import PlaceError, place
from tests.report.page.examples import gallery, step_line, write_lines, write_run, write_summary

MARKUP = "<img src=x onerror=alert(1)>\"'</script><script>alert(2)</script>"


def pictures(run: RunRecord) -> Gallery:
    return gallery([f"{i}.jpg" for i in range(12)], [["cat", "dog"][i % 2] for i in range(12)])


def no_pictures(run: RunRecord) -> Gallery:
    raise RuntimeError("the images\nare gone")


def test_the_page_shows_figures_curves_pictures_and_settings(tmp_path: Path) -> None:
    config = replace(quickstart(), train={"temperature": 0.2})
    page = of_run(read_run(write_run(tmp_path / "first", config=config)), pictures)
    assert "50.0% ± 2.5" in page
    assert "It learned: +16.0 points against the same network untrained" in page
    assert "ln K = 4.61" in page
    for title in ("Loss beside ln K", "kNN accuracy on held-out images", "Use of prototypes", "Goodput", "World size"):
        assert f"<figcaption>{title}</figcaption>" in page
    assert "resized from 1 to 2 workers" in page
    assert "Prototype 0" in page
    assert "100% labelled cat" in page
    assert re.search(r"<b>quickstart</b>; 1 setting\s+differs", page)
    assert "train.temperature</code></td><td>0.2</td><td>0.1</td>" in page


def test_the_page_lies_in_the_run_directory(tmp_path: Path) -> None:
    written = write_page(write_run(tmp_path / "r"), pictures)
    assert written.uri == str(tmp_path / "r" / "report.html")
    assert written.read_bytes().startswith(b"<!doctype html>")


def test_without_pictures_there_is_a_page_that_says_why(tmp_path: Path) -> None:
    page = of_run(read_run(write_run(tmp_path / "r")), no_pictures)
    assert "The prototypes&#39; images are not shown: the images are gone." in page
    assert "The map is not drawn: the images are gone." in page


def test_a_run_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "r", finished=False)
    for name in ("metrics.jsonl", "history.jsonl", "health.jsonl", "measurements.jsonl"):
        (run_dir / name).delete()
    page = of_run(read_run(run_dir), no_pictures)
    assert "There is no step yet." in page
    assert "Health: nothing was observed" in page


def test_a_run_whose_steps_are_all_refused_says_so(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "r", finished=False)
    write_lines(run_dir / "metrics.jsonl", [step_line(step, 40, None) for step in range(5)])
    (run_dir / "health.jsonl").delete()
    page = of_run(read_run(run_dir), no_pictures)
    assert "No step has a finite loss." in page
    assert "The first is step 0: loss is nan." in page
    assert "Loss: no step has a finite loss." in page


def test_names_labels_and_reasons_with_markup_are_text(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "r")
    bad = {"sample_id": 1, "uri": MARKUP, "kind": MARKUP, "reason": MARKUP}
    write_lines(run_dir / "quarantine.jsonl", [bad])
    write_summary(run_dir, 40, verdict={"health": MARKUP, "line": MARKUP, "remedy": MARKUP})
    (run_dir / "environment.json").write_bytes(json.dumps({MARKUP: MARKUP}).encode())
    results = {"protocol": MARKUP, "backbone": MARKUP, "figures": {MARKUP: {"value": 1.0, "unit": "%"}}}
    (run_dir / "evaluations" / "w" / "p" / "results.json").write_bytes(json.dumps(results).encode())
    page = of_run(read_run(run_dir), lambda _: gallery([MARKUP] * 3, [MARKUP] * 3))
    assert "<img src=x" not in page
    assert page.count("<script>") == page.count("</script>") == 1
    assert "&lt;img src=x onerror" in page


def test_nothing_in_the_page_calls_out(tmp_path: Path) -> None:
    page = of_run(read_run(write_run(tmp_path / "r")), pictures)
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in page
    assert re.findall(r"(?:https?:)?//[\w.]", re.sub(r"data:[^\"]*", "", page)) == []
    assert set(re.findall(r'(?:src|href)="([^"]{5})', page)) <= {"data:", "#shee"}
    assert " style=" not in page  # the policy would refuse it


def test_a_hundred_thousand_classes_have_ten_colours_and_no_label_is_fine(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "r"))
    many = [f"class {i * 97}" for i in range(1000)]
    page = of_run(run, lambda _: gallery([f"{i}.jpg" for i in range(1000)], many))
    assert len(page) < 1_500_000
    assert len(re.findall(r'class="c\d+"', page)) == 22
    page = of_run(run, lambda _: gallery(["one.jpg"], [""]))
    assert "Neighbours are not shown: one image alone has none." in page
    assert "The images have no labels" in page


def test_ten_thousand_steps_make_a_small_page(tmp_path: Path) -> None:
    page = of_run(read_run(write_run(tmp_path / "r", steps=10_000)), no_pictures)
    assert len(page) < 500_000


def test_several_runs_lie_side_by_side(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first")
    second = write_run(tmp_path / "second", config=replace(quickstart(), optim={"base_lr": 1.0}))
    page = of_several([read_run(first), read_run(second)], pictures)
    assert re.search(r'<th class="n">first</th>\s*<th class="n">second</th>', page)
    assert "<code>optim.base_lr</code></td><td>2</td><td>1</td>" in page
    assert page.count('class="line tone1"') >= 5  # of the curves, and of their legends
    assert "kNN top-1, untrained" in page


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match=r"config\.yaml is missing"):
        read_run(place(tmp_path))
    (tmp_path / "config.yaml").write_text("train: {no_such: 1}\n")
    with pytest.raises(ConfigError, match="settings that this version does not know"):
        read_run(place(tmp_path))


def test_the_verdict_of_the_summary_is_the_pages(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "r")
    said = {
        "health": "healthy",
        "word": "unclear",
        "line": "it shows nothing learned",
        "remedy": "try more train.epochs",
    }
    write_summary(run_dir, 40, verdict=said)
    page = of_run(read_run(run_dir), pictures)
    assert "It shows nothing learned. Try more train.epochs." in page
    assert "It learned" not in page
