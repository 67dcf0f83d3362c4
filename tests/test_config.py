"""The config: validated, warned about, and every field of it read by the code."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest

import swav_ray
from swav_ray.config import Config, ConfigError, check_resume, replace
from swav_ray.settings import field_types

PACKAGE = Path(swav_ray.__file__).parent


def attributes_read() -> set[str]:
    """Names read as attributes anywhere but in the config itself and the recipes."""
    read = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name in ("config.py", "recipes.py", "settings.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                read.add(node.attr)
    return read


def test_every_field_is_read_by_the_code() -> None:
    read = attributes_read()
    assert [name for name in field_types() if name.partition(".")[2] not in read] == []


def test_every_field_says_what_it_is() -> None:
    for section in dataclasses.fields(Config):
        for item in dataclasses.fields(getattr(Config(), section.name)):
            assert item.metadata["doc"].endswith("."), f"{section.name}.{item.name}"


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("optim", "base_lr", 0.0),
        ("optim", "final_lr", 9.0),
        ("crops", "counts", (2,)),
        ("crops", "sizes", (224, 224)),
        ("crops", "min_scales", (0.5, 0.2)),
        ("model", "backbone", "vit"),
        ("model", "prototypes", (1,)),
        ("assignment", "epsilon", 0.0),
        ("assignment", "crops_for_assign", (0, 8)),
        ("assignment", "crops_for_assign", (0, 0)),
        ("queue", "length", 100),
        ("train", "precision", "fp8"),
        ("optim", "warmup_epochs", 1000.0),
        ("scaling", "num_workers", (5000,)),
        ("scaling", "num_workers", (3, 2)),
        ("scaling", "num_workers", (1, 2, 3)),
        ("train", "batchnorm_groups", 3),
        ("train", "max_rows_per_pass", -1),
        ("checkpoint", "keep_best", 1),
        ("augment", "blur_sigma", (2.0, 0.1)),
        ("run", "name", "a/b"),
        ("data", "holdout_fraction", 1.0),
    ],
)
def test_a_value_that_cannot_be_is_told_in_one_line(section: str, name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(Config(), **{section: {name: value}})
    message = str(caught.value)
    assert "\n" not in message
    assert message.count(" = ") >= 1
    assert ":" in message


# A value of each field that changes neither what is learned nor what a measurement means.
MAY_DIFFER = {
    "run.name": "other",
    "run.storage": "s3://bucket/runs",
    "run.progress_seconds": 1.0,
    "run.ray_logs": True,
    "data.max_bad_fraction": 0.5,
    "train.max_refused_steps": 1,
    "checkpoint.every_epochs": 0.5,
    "checkpoint.keep_last": 5,
    "checkpoint.keep_every_epochs": 10,
    "scaling.num_workers": (2, 8),
    "scaling.device": "gpu",
    "scaling.cpus_per_worker": 2.0,
    "scaling.gpus_per_worker": 0.5,
    "scaling.crop_cpus": 4.0,
    "scaling.check_seconds": 5.0,
}


@pytest.mark.parametrize("dotted", MAY_DIFFER)
def test_a_run_resumes_with_another_value_of_what_changes_nothing_that_is_learned(dotted: str) -> None:
    section, _, name = dotted.partition(".")
    check_resume(Config(), replace(Config(), **{section: {name: MAY_DIFFER[dotted]}}), "run x in y", "--run.name")


def test_a_run_resumes_with_other_checkpoints_kept_by_accuracy() -> None:
    before = replace(Config(), eval={"knn_every_epochs": 1})
    check_resume(before, replace(before, checkpoint={"keep_best": 2}), "run x in y", "--run.name")


def test_everything_else_that_is_learned_or_measured_may_not_differ() -> None:
    resumable = {
        f"{section.name}.{item.name}"
        for section in dataclasses.fields(Config)
        for item in dataclasses.fields(getattr(Config(), section.name))
        if item.metadata["resumable"]
    }
    assert resumable == {*MAY_DIFFER, "checkpoint.keep_best"}


def test_a_refused_change_is_named_with_both_values_and_the_way_out() -> None:
    changed = replace(Config(), checkpoint={"keep_last": 3}, optim={"base_lr": 0.3, "final_lr": 0.0})
    with pytest.raises(ConfigError) as caught:
        check_resume(Config(), changed, "run x in y", "--run.name")
    said = "run x in y began with 4.8; use that to resume it, or start another with --run.name"
    assert str(caught.value) == f"optim.base_lr = 0.3: {said}"


def test_a_low_resolution_crop_for_codes_draws_a_warning() -> None:
    (line,) = replace(Config(), assignment={"crops_for_assign": (0, 2)}).warnings()
    assert "[2]" in line
    assert "section 3.3" in line


def test_fewer_than_three_iterations_draw_a_warning() -> None:
    (line,) = replace(Config(), assignment={"iterations": 1}).warnings()
    assert "did not converge" in line


def test_the_paper_draws_no_warning() -> None:
    assert Config().warnings() == []
