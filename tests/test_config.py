"""The config: validated, warned about, and every field of it read by the code."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest

import swav_ray
from swav_ray.config import Config, ConfigError, check_resume, replace

PACKAGE = Path(swav_ray.__file__).parent
SECTIONS = {section.name: type(getattr(Config(), section.name)) for section in dataclasses.fields(Config)}
# What the config does with itself, and turns into text, is no use of a field.
OF_THE_CONFIG = ("config", "recipes", "settings.py")
CONFIGS = ("config", "_config", "base")  # what the code calls a config


class FieldReads(ast.NodeVisitor):
    """The settings that a module reads, `section.field`, as far as their sections can be told.

    `config.optim.base_lr` counts; so does `rates.base_lr` after `rates = config.optim`, or when a function has the
    parameter `rates: OptimConfig`. The same name as an attribute of anything else does not.
    """

    def __init__(self, sections: dict[str, type]) -> None:
        self.fields: set[str] = set()
        self._sections = sections
        self._of_type = {cls.__name__: name for name, cls in sections.items()}
        self._names: dict[str, str] = {}

    def read(self, text: str) -> set[str]:
        tree = ast.parse(text)
        for node in ast.walk(tree):  # names first, wherever they are bound
            if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
                name = node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)
                if (section := self._of_type.get(ast.unparse(node.annotation))) is not None:
                    self._names[name] = section
        for _ in range(2):  # a name may be set from one that is set further down
            for node in ast.walk(tree):
                if isinstance(node, ast.Assign):
                    for target in node.targets:
                        self._bind(target, node.value)
        self.visit(tree)
        return self.fields

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=True):
                self._bind(one, other)
        elif (section := self._section_of(value)) is not None:
            self._names[ast.unparse(target)] = section

    def _section_of(self, node: ast.expr) -> str | None:
        if ast.unparse(node) in self._names:
            return self._names[ast.unparse(node)]
        # `config.optim`, `self.config.optim`, `plan.base.optim`: any object that is a config by its name.
        if isinstance(node, ast.Attribute) and node.attr in self._sections:
            owner = ast.unparse(node.value).rpartition(".")[2]
            return node.attr if owner in CONFIGS else None
        return None

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if (section := self._section_of(node.value)) is not None:
            self.fields.add(f"{section}.{node.attr}")
        self.generic_visit(node)


def unread(sections: dict[str, type], texts: list[str]) -> list[str]:
    """Fields of the sections that no text reads."""
    read = set().union(*(FieldReads(sections).read(text) for text in texts))
    fields = [f"{section}.{item.name}" for section, cls in sections.items() for item in dataclasses.fields(cls)]
    return [name for name in fields if name not in read]


@pytest.fixture(scope="module")
def package_texts() -> list[str]:
    others = (path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in OF_THE_CONFIG)
    texts = [path.read_text() for path in others]
    return [text for text in texts if "config" in text.lower()]


def test_every_field_is_read_by_the_code(package_texts: list[str]) -> None:
    assert unread(SECTIONS, package_texts) == []


def test_a_made_up_field_of_any_section_is_found_dead_whatever_its_name(package_texts: list[str]) -> None:
    """Also one with a name that something else has in a hundred places."""
    common = ["name", "size", "step", "shape", "device", "config", "read", "close", "world", "made_up"]
    mutants = {
        section: dataclasses.make_dataclass(cls.__name__, [name for name in common if not hasattr(cls, name)])
        for section, cls in SECTIONS.items()
    }
    made_up = [f"{section}.{item.name}" for section, cls in mutants.items() for item in dataclasses.fields(cls)]
    assert unread(mutants, package_texts) == made_up


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("def f(config): return config.optim.momentum", True),
        ("def f(self):\n    rates = self.config.optim\n    return rates.momentum", True),
        ("def f(config):\n    rates, crops = config.optim, config.crops\n    return rates.momentum", True),
        ("def f(rates: OptimConfig): return rates.momentum", True),
        ("def f(self, config):\n    self.rates = config.optim\n    return self.rates.momentum", True),
        ("def f(group): return group.momentum", False),
        ("def f(config): return config.train.momentum", False),
        ("def f(optim): return optim.momentum", False),
    ],
)
def test_a_field_is_read_when_its_section_is_known(text: str, read: bool) -> None:
    assert (FieldReads(SECTIONS).read(text) == {"optim.momentum"}) == read


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
        ("eval", "beside_training", "yes"),
        ("optim", "warmup_epochs", 1000.0),
        ("scaling", "num_workers", (5000,)),
        ("scaling", "num_workers", (3, 2)),
        ("scaling", "num_workers", (1, 2, 3)),
        ("train", "batchnorm_groups", 3),
        ("train", "max_rows_per_pass", -1),
        ("checkpoint", "keep_best", 1),
        ("augment", "blur_sigma", (2.0, 0.1)),
        ("run", "name", "a/b"),
        ("run", "name", ".."),
        ("run", "name", "a\nb"),
        ("data", "alpha", "black"),
        ("data", "max_pixels", 0),
        ("data", "holdout_fraction", 1.0),
    ],
)
def test_a_value_that_cannot_be_is_named_in_one_line(section: str, name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(Config(), **{section: {name: value}})
    assert str(caught.value).startswith(f"{section}.{name} = ")
    assert "\n" not in str(caught.value)


# A value of each field that changes neither what is learned nor what a measurement means.
MAY_DIFFER = {
    "run.name": "other",
    "run.storage": "s3://bucket/runs",
    "run.progress_seconds": 1.0,
    "run.ray_logs": True,
    "data.max_bad_fraction": 0.5,
    "data.recheck": True,
    "train.max_refused_steps": 1,
    "run.trackers": ("mlflow",),
    "performance.compile": True,
    "performance.keep_memory": False,
    "checkpoint.every_epochs": 0.5,
    "checkpoint.keep_last": 5,
    "checkpoint.keep_every_epochs": 10,
    "eval.beside_training": "auto",
    "health.on_collapse": "stop",
    "scaling.num_workers": (2, 8),
    "scaling.device": "gpu",
    "scaling.cpus_per_worker": 2.0,
    "scaling.gpus_per_worker": 0.5,
    "scaling.crop_cpus": 4.0,
    "scaling.check_seconds": 5.0,
    "scaling.cache_dir": "/nvme",
    "scaling.cache_bytes": 10**12,
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
