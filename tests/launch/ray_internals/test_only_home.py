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
# Private names of Ray's classes that a subclass of ours could override or use, and a constant that is none.
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


def imported(node: ast.AST) -> list[str]:
    """What an import statement imports, by dotted name."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def is_private_attribute(node: ast.Attribute) -> bool:
    """Whether this is another object's private attribute, or one of those that Ray's classes have."""
    own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
    private = node.attr.startswith("_") and not node.attr.startswith("__")
    return node.attr in PRIVATE or (private and not own)


def private_uses(source: str) -> Iterator[tuple[int, str]]:
    """The lines of a module that use a private name of Ray, each with the name."""
    nodes = list(ast.walk(ast.parse(source)))
    if not any(name.split(".")[0] == "ray" for node in nodes for name in imported(node)):
        return
    for node in nodes:
        names = [name for name in imported(node) if is_private(name)]
        if isinstance(node, ast.Attribute) and is_private_attribute(node):
            names = [ast.unparse(node)]
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
        ("import ray\ndef f(executor):\n    executor._topology", 3, "executor._topology"),
        ("import ray\nclass P(ray.Policy):\n    def _get_reserved_resources(self): ...", 3, "_get_reserved_resources"),
        ("import ray\nstate.WAIT_FOR_TASK_COMPLETION_TIMEOUT_S = 0", 2, "state.WAIT_FOR_TASK_COMPLETION_TIMEOUT_S"),
    ],
)
def test_a_private_use_is_found_by_line_and_name(source: str, line: int, name: str) -> None:
    assert any(at == line and used.startswith(name) for at, used in private_uses(source))


def test_what_is_public_is_not_found() -> None:
    source = (
        "import ray.train\nfrom ray.exceptions import RayError\nray.util.get_node_ip_address()\nself._monitor.__call__"
    )
    assert list(private_uses(source)) == []
