"""Each search space draws mixes that its recipe can train, and its command reports a mistake in one line."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from swav_ray import settings
from swav_ray.config import Config, replace
from swav_ray.launch.sweep import command
from swav_ray.launch.sweep.command import main, parse
from swav_ray.launch.sweep.space import Values, check, config_of, draw
from swav_ray.recipes import RECIPES, quickstart
from swav_ray.storage.place import StorageUnavailable

SCRIPTS = sorted((Path(__file__).parents[2] / "tune_spaces").glob("*.py"))


def load(script: Path) -> ModuleType:
    return importlib.import_module(f"tune_spaces.{script.stem}")


def test_the_spaces_of_the_readme_are_there() -> None:
    assert [script.stem for script in SCRIPTS] == ["assignment", "crops", "optimization", "sinkhorn", "small_data"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
@pytest.mark.parametrize(("recipe", "images"), [("quickstart", 6000), ("imagenette", 9469)])
def test_a_space_has_enough_mixes_that_can_be_trained(script: Path, recipe: str, images: int) -> None:
    module = load(script)
    base = RECIPES[recipe]()

    def accept(values: Values) -> Config:
        return check(config_of(base, values, getattr(module, "translate", None)), images, base)

    points = draw(module.SPACE, accept, 20, seed=0)
    assert len(points.values) == 20
    configs = [config_of(base, values, getattr(module, "translate", None)) for values in points.values]
    assert len({str(config) for config in configs}) == len(configs)


def test_a_batch_of_optimization_keeps_the_rate_per_image() -> None:
    module = load(SCRIPTS[2])
    values = {"lr at batch 256": 2.0, "batch": 128, "warm-up, share of the run": 0.1, "freeze, samples": 25_600}
    config = config_of(RECIPES["quickstart"](), values, module.translate)
    assert config.optim.base_lr == 1.0
    assert config.optim.freeze_prototypes_steps == 200
    assert config.optim.warmup_epochs == pytest.approx(4.0)


def test_no_small_crops_are_a_single_group() -> None:
    module = load(SCRIPTS[1])
    values = {
        "small crops": 0,
        "small size, share of the large": 0.5,
        "large crops from": 0.2,
        "small crops up to": 0.3,
    }
    crops = config_of(RECIPES["quickstart"](), values, module.translate).crops
    assert (crops.sizes, crops.counts, crops.min_scales) == ((32,), (2,), (0.2,))


def test_words_for_the_sweep_and_for_the_recipe_are_told_apart() -> None:
    words = [
        "--num-samples",
        "3",
        "--train.epochs",
        "5",
        "--objective",
        "knn",
        "images",
        "--crops.counts",
        "4",
        "--name=x",
    ]
    keywords = parse({}, words, {"recipe": "quickstart", "name": "y", "seed": 5})
    recipe = replace(quickstart(), train={"epochs": 5}, crops={"counts": (4,)})
    assert keywords == {"num_samples": 3, "objective": ["knn", "images"], "name": "x", "seed": 5, "recipe": recipe}


def test_a_sweep_starts_from_a_runs_own_config(tmp_path: Path) -> None:
    config = replace(quickstart(), train={"epochs": 5})
    (tmp_path / "config.yaml").write_text(settings.to_yaml(config))
    assert parse({}, ["--config", str(tmp_path / "config.yaml")], {"recipe": "cifar"})["recipe"] == config


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--recipe nope", "recipe = 'nope': no such recipe; choose from quickstart"),
        ("--num-samples many", "argument --num-samples: 'many' is not a whole number"),
        ("--samples 3", "--samples: no such option; did you mean --num-samples?"),
        ("--train.epocs 3", "train.epocs: no such setting; did you mean train.epochs?"),
        ("--scheduler", "argument --scheduler: expected one argument"),
    ],
)
def test_a_wrong_argument_is_reported_in_one_line(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main({}, words.split(), recipe="quickstart", name="x") == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "told", "status"),
    [
        (FileNotFoundError("s3://none/x: no such bucket"), "s3://none/x: no such bucket", 2),
        (PermissionError(13, "Permission denied", "/images"), "Permission denied: '/images'", 2),
        (NotADirectoryError(20, "Not a directory", "/a/b"), "Not a directory: '/a/b'", 2),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe", 1),
        (OSError(28, "No space left on device"), "No space left on device", 1),
        (StorageUnavailable("s3://b: no answer for 10 s"), "s3://b: no answer for 10 s", 1),
    ],
)
def test_what_the_system_refuses_is_one_line_too(
    error: OSError, told: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(**_: object) -> None:
        raise error

    monkeypatch.setattr(command, "sweep", refused)
    assert main({}, [], recipe="quickstart", name="x") == status
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


def test_help_of_a_script_shows_its_space_and_options_without_starting_anything() -> None:
    done = subprocess.run([sys.executable, str(SCRIPTS[0]), "--help"], capture_output=True, text=True, check=True)
    assert "model.prototypes: categorical [30, 100, 300, 1000]" in done.stdout
    assert "--num-samples" in done.stdout
