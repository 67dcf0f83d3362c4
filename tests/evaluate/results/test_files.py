"""Results on disk and side by side: what they are of, and whether a difference is more than noise."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.results.files import comparison, is_of, read, table, write
from swav_ray.evaluate.results.protocol import Figure, Protocol, Result, accuracy
from swav_ray.storage.place import place

PROTOCOL = Protocol(name="knn", version=1, settings={"k": 20}, source="here")


WHERE = {"place": "v", "fingerprint": "f", "images": 100}


def result(right: int, weights: str = "w", published: float | None = None, fingerprint: str = "f") -> Result:
    correct = np.arange(100) < right
    return Result(
        protocol=PROTOCOL,
        backbone="b",
        weights=weights,
        train=WHERE,
        val=WHERE | {"fingerprint": fingerprint},
        preprocessing={"image_size": 32, "mean": (0.5, 0.5, 0.5)},
        figures={"top-1": accuracy(correct, published=published), "others": Figure(value=3, unit="")},
        correct=dict(enumerate(correct.tolist())),
    )


def text(shown: Table) -> str:
    sink = io.StringIO()
    Console(file=sink, width=200).print(shown)
    return sink.getvalue()


def test_what_is_read_is_what_was_written_and_says_what_it_is_of(tmp_path: Path) -> None:
    write(place(tmp_path), result(60))
    found = read(place(tmp_path))
    assert found is not None
    assert is_of(found, result(50))
    assert not is_of(found, result(60, weights="other"))
    assert not is_of(found, result(60, fingerprint="another"))
    assert not is_of(found, replace(result(60), preprocessing={"image_size": 64}))
    assert not is_of(found, replace(result(60), protocol=replace(PROTOCOL, version=2)))
    assert read(place(tmp_path / "nothing")) is None


@pytest.mark.parametrize("content", ["{", "[]", '{"steps": 3}'])
def test_a_file_that_an_evaluation_did_not_write_is_not_resumed(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(EvaluationError, match="is no result of an evaluation; give another --out"):
        read(place(tmp_path))


def test_the_table_has_the_published_figure_beside_ours_where_there_is_one() -> None:
    with_figure = text(table(result(60, published=65.7)))
    assert "65.7%" in with_figure
    assert "60.0% [" in with_figure
    assert "published" not in text(table(result(60)))


def test_a_comparison_says_which_differences_are_more_than_noise() -> None:
    found: list[dict[str, Result]] = [{"knn": result(n)} for n in (60, 61, 90)]
    shown = text(comparison(["a", "b", "c", "d", "e"], [*found, {}, {"knn": result(90, fingerprint="other")}]))
    row = next(line for line in shown.splitlines() if "top-1" in line)
    assert "(p 1)" in row
    assert row.count("(p < 0.001)") == 1
    assert "(other images)" in row
    assert row.count("%") == 4


def test_a_comparison_of_precisions_goes_by_their_draws() -> None:
    draws = np.random.default_rng(0).normal(0, 1, 200)
    found = [
        {
            "svm": replace(
                result(60), correct={}, figures={"mAP": Figure(value=50 + more)}, draws=(draws + more).tolist()
            )
        }
        for more in (0.0, 10.0)
    ]
    row = next(line for line in text(comparison(["a", "b"], found)).splitlines() if "mAP" in line)
    assert "60.0% (p < 0.001)" in row
    assert row.count("(p") == 1


def test_a_comparison_shows_what_the_first_backbone_lacks() -> None:
    other = replace(result(60), figures={"NMI": Figure(value=0.5, unit="")})
    shown = text(comparison(["untrained", "trained"], [{"knn": result(60)}, {"knn": result(60), "clusters": other}]))
    assert "clusters, NMI" in shown
