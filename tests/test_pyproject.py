"""What the package imports is what pyproject.toml declares, no more and no less."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import swav_ray

PACKAGE = Path(swav_ray.__file__).parent
PROJECT = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
# Declared and imported by another library on our behalf.
THROUGH_OTHERS = {"tensorboard": "torch.utils.tensorboard"}
EXTRAS = (
    "heic",
    "hub",
    "eval",
    "export",
    "map",
    "faiss",
    "trackers",
)  # what the package imports beyond what it always needs


def name_of(requirement: str) -> str:
    """`ray[train]>=2.60` to `ray`."""
    match = re.match(r"[\w.-]+", requirement)
    assert match is not None
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def imported(*, top: bool = False) -> set[str]:
    """Every module that the package imports, its dotted name in full, but for the standard library and itself.

    Args:
        top: only those that are imported with the module that names them.
    """
    names = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in tree.body if top else ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {f"{node.module}.{name.name}" for name in node.names} | {str(node.module)}
    return {name for name in names if name.split(".")[0] not in {*sys.stdlib_module_names, "swav_ray"}}


def distributions() -> set[str]:
    """The distributions of what the package imports; a namespace that several share counts for each of them."""
    known = packages_distributions()
    return {name_of(owner) for module in imported() for owner in known[module.split(".")[0]]}


def undeclared(modules: set[str], requirements: list[str]) -> set[str]:
    """The modules, by their first name, that no requirement brings."""
    known, required = packages_distributions(), {name_of(requirement) for requirement in requirements}
    roots = {module.split(".")[0] for module in modules}
    return {root for root in roots if not {name_of(owner) for owner in known.get(root, [])} & required}


def test_every_import_is_declared() -> None:
    """Also those of the extras, which the code imports when somebody asks for what they are for."""
    extras = [requirement for extra in EXTRAS for requirement in PROJECT["optional-dependencies"][extra]]
    assert undeclared(imported(), PROJECT["dependencies"] + extras) == set()


def test_nothing_of_an_extra_is_imported_before_it_is_needed() -> None:
    assert undeclared(imported(top=True), PROJECT["dependencies"]) == set()


def test_the_tests_need_every_extra_that_the_package_imports() -> None:
    own = next(name for name in PROJECT["optional-dependencies"]["test"] if name.startswith("swav_ray["))
    assert set(EXTRAS) <= set(re.findall(r"\w+", own.partition("[")[2]))


def test_every_declared_dependency_is_imported() -> None:
    required = {name_of(requirement) for requirement in PROJECT["dependencies"]}
    assert required - distributions() == set(THROUGH_OTHERS)
    assert set(THROUGH_OTHERS.values()) <= imported()
