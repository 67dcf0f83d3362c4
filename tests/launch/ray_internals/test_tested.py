"""A run says in one line that its Ray is outside of the range whose contract tests pass."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import pytest
import ray
from packaging.requirements import Requirement

from swav_ray.launch.ray_internals.tested import untested_ray

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


def declared() -> list[str]:
    """What pyproject.toml requires, as an install would know it."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    return [*project["dependencies"], *(f"{line}; extra == 'any'" for line in project["optional-dependencies"]["dev"])]


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: declared())


@pytest.mark.usefixtures("_installed")
def test_the_installed_ray_is_tested() -> None:
    assert untested_ray() == []


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("version", ["2.59.1", "2.61.0", "3.0.0.dev0"])
def test_another_ray_is_named_with_the_range(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "__version__", version)
    (warning,) = untested_ray()
    assert warning.startswith(f"Ray {version} is untested: use Ray <2.61,>=2.60, or ")


def test_the_range_has_one_home() -> None:
    project = tomllib.loads(PROJECT.read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    bounds = [line for line in lines if Requirement(line).name == "ray" and Requirement(line).specifier]
    assert len(bounds) == 1, bounds


def test_a_folder_that_was_never_installed_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    assert untested_ray() == []
