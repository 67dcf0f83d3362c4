"""The public face: what it names is there, in whatever order it is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import swav_ray
from swav_ray import recipes
from swav_ray.config import Config
from swav_ray.launch import train

ROOT = Path(__file__).parents[1]


def test_the_face_is_config_recipes_pretrain_and_load_backbone() -> None:
    assert swav_ray.Config is Config
    assert swav_ray.recipes is recipes
    assert set(swav_ray.__all__) <= set(dir(swav_ray))
    assert all(hasattr(swav_ray, name) for name in swav_ray.__all__)
    with pytest.raises(AttributeError, match="module 'swav_ray' has no attribute 'Confg'"):
        swav_ray.Confg  # noqa: B018


def test_pretrain_trains_a_config_and_returns_its_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Config] = []
    monkeypatch.setattr(train, "train", lambda config: trained.append(config) or {"knn": {}})
    config = recipes.quickstart()
    assert swav_ray.pretrain(config) == {"knn": {}}  # type: ignore[operator]
    assert trained == [config]


@pytest.mark.parametrize(
    "code",
    [
        "import swav_ray; p = swav_ray.pretrain",
        "import swav_ray.pretrain; p = swav_ray.pretrain",
        "from swav_ray import pretrain as p",
        "from swav_ray.pretrain import main; import swav_ray; p = swav_ray.pretrain",
        "import swav_ray; swav_ray.pretrain; import swav_ray.pretrain as p",
        "from swav_ray import *; p = pretrain",
    ],
)
def test_pretrain_is_the_function_and_the_module_in_any_order_of_import(code: str) -> None:
    code += "\nassert callable(p) and p.main(['--help']) == 0"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


def test_the_command_runs_without_a_warning_of_a_module_imported_twice() -> None:
    command = [sys.executable, "-W", "error", "-m", "swav_ray.pretrain", "--help"]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.startswith("usage: python -m swav_ray.pretrain"), done.stderr) == (True, "")
