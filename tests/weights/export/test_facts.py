"""What is known of weights comes from their header and their run, if they have one."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from swav_ray.recipes import quickstart
from swav_ray.weights.export.facts import facts_of
from tests.weights.export.given import backbone


def test_a_header_alone_tells_the_settings(tmp_path: Path) -> None:
    given = backbone(tmp_path, width=0.125)
    about = replace(given.origin.about, config=asdict(quickstart()), epochs=3.0)
    given.origin = replace(given.origin, about=about)
    facts = facts_of(given)
    assert facts.config == quickstart()
    assert facts.epochs == 3.0


def test_weights_from_the_hub_lie_in_no_run_directory(tmp_path: Path) -> None:
    given = backbone(tmp_path, width=0.125)
    given.origin = replace(given.origin, place="hf://somebody/something/model.safetensors@main")
    assert facts_of(given).config is None
    assert facts_of(given).figures == []
