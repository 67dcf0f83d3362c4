"""The walls of the house: only launch/ imports Ray, the plan and the manifest no torch, nobody a command at import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import swav_ray

PACKAGE = Path(swav_ray.__file__).parent
MODULES = sorted(
    ".".join(("swav_ray", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)


def imported_by(modules: list[str], *looked_for: str) -> set[str]:
    """Which of `looked_for` a fresh interpreter has loaded after importing `modules`."""
    code = f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split()) & set(looked_for)


def test_only_launch_imports_ray() -> None:
    core = [name for name in MODULES if not name.startswith("swav_ray.launch")]
    assert len(core) > 30
    assert imported_by(core, "ray") == set()


@pytest.mark.parametrize("module", ["swav_ray.data.sample_plan", "swav_ray.data.manifest", "swav_ray.recipes"])
def test_what_needs_no_torch_imports_none(module: str) -> None:
    assert imported_by([module], "torch", "ray") == set()


def test_processes_that_make_crops_do_without_torch() -> None:
    assert imported_by(["swav_ray.launch.crop_task"], "torch", "ray") == {"ray"}


@pytest.mark.parametrize("folder", ["model", "loss", "optim"])
def test_the_mathematics_knows_no_config(folder: str) -> None:
    for path in (PACKAGE / folder).glob("*.py"):
        assert "swav_ray.config" not in path.read_text(), path
