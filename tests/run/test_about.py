"""What a file of weights says of itself comes back, and a later version's entries are passed over."""

from __future__ import annotations

import json

from swav_ray.run.about import About

ABOUT = About(run="quickstart", step=3, samples_seen=30, image_size=48, samples="s3://b/run/manifest.parquet")


def test_what_the_header_says_comes_back() -> None:
    assert About.of_header(ABOUT.header()) == ABOUT
    assert About.of_header({}) == About()


def test_unknown_entries_and_damage_are_passed_over() -> None:
    entry = json.loads(ABOUT.header()["swav_ray"]) | {"colour": "red"}
    assert About.of_header({"swav_ray": json.dumps(entry)}) == ABOUT
    assert About.of_header({"swav_ray": "{"}) == About()


def test_what_one_source_does_not_know_another_may() -> None:
    moved = About(samples="/elsewhere/manifest.parquet")
    known = moved.over(ABOUT)
    assert (known.samples, known.run, known.step) == ("/elsewhere/manifest.parquet", "quickstart", 3)
    assert About().over(ABOUT) == ABOUT


def test_an_entry_of_another_type_counts_as_not_there() -> None:
    entry = json.loads(ABOUT.header()["swav_ray"]) | {"config": "none", "epochs": "many"}
    assert About.of_header({"swav_ray": json.dumps(entry)}) == ABOUT


def test_the_header_of_an_earlier_version_is_read() -> None:
    entry = {"run": "quickstart", "step": 3, "samples_seen": 30, "image_size": 48, "samples": ABOUT.samples}
    assert About.of_header({"swav_ray": json.dumps(entry)}) == ABOUT
