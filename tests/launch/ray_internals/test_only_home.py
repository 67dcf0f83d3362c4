"""Names that Ray does not promise to keep are used in launch/ray_internals/ and nowhere else in the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import swav_ray

PACKAGE = Path(swav_ray.__file__).parent
HOME = PACKAGE / "launch" / "ray_internals"
# Modules without an underscore that Ray documents nowhere.
UNDOCUMENTED = ("ray.core", "ray.train.v2")
# Attributes of Ray's objects that are private: used, overridden or set.
PRIVATE = {
    "_autoscaling_coordinator",
    "_coordinator_client",
    "_count_possible_workers",
    "_create_default_callbacks",
    "_get_new_config",
    "_get_num_workers_for_resource_request",
    "_get_reserved_resources",
    "_hyperparam_mutations",
    "_initialize_and_run_controller",
    "_metadata_fetcher",
    "_ongoing_reqs",
    "_ot_trials",
    "_requester_id",
    "_resources_per_worker_not_none",
    "_send_resource_request",
    "_topology",
    "WAIT_FOR_TASK_COMPLETION_TIMEOUT_S",
}


def is_private(module: str) -> bool:
    """Whether a dotted name of Ray has a part that is private or undocumented."""
    parts = module.split(".")
    return parts[0] == "ray" and (any(part.startswith("_") for part in parts) or module.startswith(UNDOCUMENTED))


def dotted(node: ast.expr) -> str:
    """`a.b.c` for such an expression, else ""."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


def private_uses(source: str) -> Iterator[tuple[int, str]]:
    """The lines of a module that use a private name of Ray, each with the name."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if is_private(alias.name)]
        elif isinstance(node, ast.ImportFrom):
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name for name in whole if is_private(name)]
        elif isinstance(node, ast.Attribute):
            path = dotted(node)
            private = node.attr in PRIVATE or (node.attr.startswith("_") and is_private(path))
            names = [path or node.attr] if private else []
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in PRIVATE:
            names = [node.name]
        for name in names:
            yield node.lineno, name


def test_no_other_module_uses_a_private_name_of_ray() -> None:
    found = [
        f"{path.relative_to(PACKAGE.parent)}:{line}: {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if HOME not in path.parents
        for line, name in private_uses(path.read_text())
    ]
    assert not found, "belongs into swav_ray/launch/ray_internals/:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("source", "line", "name"),
    [
        ("import ray\nray._private.state.state.actors()", 2, "ray._private"),
        ("from ray._raylet import GcsClient", 1, "ray._raylet.GcsClient"),
        ("from ray._common import constants", 1, "ray._common.constants"),
        ("from ray.data._internal.execution import streaming_executor_state", 1, "ray.data._internal"),
        ("import ray.train.v2.api.config", 1, "ray.train.v2"),
        ("def f(executor):\n    executor._topology", 2, "executor._topology"),
        ("class P(Policy):\n    def _get_reserved_resources(self): ...", 2, "_get_reserved_resources"),
    ],
)
def test_a_private_use_is_found_by_line_and_name(source: str, line: int, name: str) -> None:
    assert any(at == line and used.startswith(name) for at, used in private_uses(source))


def test_what_is_public_is_not_found() -> None:
    source = "import ray.train\nfrom ray.exceptions import RayError\nray.util.get_node_ip_address()\nself._monitor"
    assert list(private_uses(source)) == []
