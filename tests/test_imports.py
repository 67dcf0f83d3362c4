"""The walls of the house: imports run downward and in no circle, Ray stays in launch/, light imports stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Rooms from the ground up. A module belongs to the longest name here that it lies in. It may import its own room and
# rooms of lower floors, not its neighbours on the same floor.
FLOORS = (
    ("swav_ray.config", "swav_ray.one_line"),
    ("swav_ray.storage",),
    ("swav_ray.run",),
    ("swav_ray.recipes", "swav_ray.settings"),
    ("swav_ray.command_line",),
    ("swav_ray.model", "swav_ray.loss", "swav_ray.optim", "swav_ray.data"),
    ("swav_ray.training", "swav_ray.report", "swav_ray.weights", "swav_ray.plan"),
    ("swav_ray.features",),
    ("swav_ray.evaluate", "swav_ray.embed", "swav_ray.health"),
    ("swav_ray.measuring", "swav_ray.report.page"),
    ("swav_ray.worker", "swav_ray.report.sweep"),
    ("swav_ray.launch",),
    (
        "swav_ray.pretrain",
        "swav_ray.inspect",
        "swav_ray.export",
        "swav_ray.replay",
        "swav_ray.data.__main__",
        "swav_ray.plan.__main__",
        "swav_ray.evaluate.__main__",
        "swav_ray.embed.__main__",
        "swav_ray.report.__main__",
        "swav_ray.watch",
        "swav_ray.runs",
    ),
    ("swav_ray", "swav_ray.__main__"),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# What the floors would allow and the design does not, with the reason.
FORBIDDEN = {
    ("swav_ray.data", "swav_ray.settings"): "data takes a config, not its text",
    ("swav_ray.model", "swav_ray.config"): "the mathematics takes tensors and plain keywords",
    ("swav_ray.loss", "swav_ray.config"): "the mathematics takes tensors and plain keywords",
    ("swav_ray.optim", "swav_ray.config"): "the mathematics takes tensors and plain keywords",
}

Graph = dict[str, set[str]]


def sources(*packages: str) -> dict[str, str]:
    """The text of every module by its name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path.read_text()
        for package in packages
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def imports_of(text: str, modules: set[str]) -> Iterator[str]:
    """What a module imports, also inside functions; not what only a type checker reads."""
    tree = ast.parse(text)
    unread = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test).endswith("TYPE_CHECKING")
        for statement in branch.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in unread:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield full if full in modules else str(node.module)


def graph_of(texts: dict[str, str]) -> Graph:
    return {name: set(imports_of(text, set(texts))) for name, text in texts.items()}


def room_of(module: str) -> str:
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in FLOOR_OF and (name != "swav_ray" or len(parts) == 1)), "")


def wrong_arrows(graph: Graph) -> list[str]:
    """Imports within the package that do not run down, each as `from -> to: why`."""
    wrong = []
    for module, imported in sorted(graph.items()):
        for target in sorted(imported & graph.keys()):
            here, there = room_of(module), room_of(target)
            if not here or not there:
                wrong.append(f"{module} -> {target}: a room without a floor; give it one in FLOORS")
            elif here != there and FLOOR_OF[there] >= FLOOR_OF[here]:
                wrong.append(f"{module} -> {target}: runs up, or to a neighbour")
            elif reason := FORBIDDEN.get((here, there)):
                wrong.append(f"{module} -> {target}: {reason}")
    return wrong


def circle(graph: Graph) -> list[str]:
    """The modules of one circle of imports, the first again at its end; empty without one."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module not in done:
            for target in sorted(graph[module] & graph.keys()):
                if found := visit(target, [*path, module]):
                    return found
            done.add(module)
        return []

    return next((found for module in sorted(graph) if (found := visit(module, []))), [])


def importers(graph: Graph, *libraries: str) -> set[str]:
    return {module for module, imported in graph.items() if {name.split(".")[0] for name in imported} & set(libraries)}


@pytest.fixture(scope="module")
def package() -> Graph:
    graph = graph_of(sources("swav_ray"))
    assert len(graph) > 60
    return graph


def test_imports_run_downward(package: Graph) -> None:
    assert wrong_arrows(package) == []


def test_imports_run_in_no_circle(package: Graph) -> None:
    assert circle(package) == []


def test_only_launch_imports_ray(package: Graph) -> None:
    assert {module for module in importers(package, "ray") if room_of(module) != "swav_ray.launch"} == set()


def test_the_package_imports_neither_tests_nor_benchmarks(package: Graph) -> None:
    assert importers(package, "tests", "benchmarks") == set()


def test_a_wrong_arrow_is_named() -> None:
    texts = {
        "swav_ray.data.rows": "def read():\n    from swav_ray.training.loop import train",
        "swav_ray.training.loop": "from swav_ray.report import terminal",
        "swav_ray.report.terminal": "import typing\nif typing.TYPE_CHECKING:\n    import swav_ray.launch.train",
        "swav_ray.launch.train": "import ray\nfrom swav_ray.data import rows",
        "swav_ray.config": "",
        "swav_ray.model.head": "import swav_ray.config",
        "swav_ray.attic": "import swav_ray.data.rows",
    }
    assert wrong_arrows(graph_of(texts)) == [
        "swav_ray.attic -> swav_ray.data.rows: a room without a floor; give it one in FLOORS",
        "swav_ray.data.rows -> swav_ray.training.loop: runs up, or to a neighbour",
        "swav_ray.model.head -> swav_ray.config: the mathematics takes tensors and plain keywords",
        "swav_ray.training.loop -> swav_ray.report.terminal: runs up, or to a neighbour",
    ]


def test_a_circle_is_named() -> None:
    texts = {"a": "import b", "b": "def f():\n    import c", "c": "from b import x", "d": "import a"}
    assert circle(graph_of(texts)) == ["b", "c", "b"]


def loaded(modules: str, *libraries: str) -> set[str]:
    """Which of the libraries a fresh interpreter has loaded after it imported the modules."""
    return loaded_after("\n".join(f"import {module}" for module in modules.split()), *libraries)


def loaded_after(code: str, *libraries: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return set(done.stdout.split()) & set(libraries)


S3_CLIENTS = ("boto3", "botocore", "obstore", "pycurl", "awscrt")
IMAGE_CODE = ("numba", "cv2", "PIL", "simplejpeg")


def test_the_package_itself_loads_neither_ray_nor_torch() -> None:
    assert loaded("swav_ray", "ray", "torch", "numpy", *S3_CLIENTS) == set()


@pytest.mark.parametrize("module", ["loop", "learner", "checkpoint"])
def test_training_loads_no_s3_client_no_kernel_and_no_image_decoder(module: str) -> None:
    assert loaded(f"swav_ray.training.{module}", "ray", *S3_CLIENTS, *IMAGE_CODE) == set()


def test_settings_and_help_load_no_s3_client() -> None:
    heavy = ("ray", "torch", "numpy", *S3_CLIENTS)
    assert loaded("swav_ray.settings", *heavy) == set()
    assert loaded_after("from swav_ray.pretrain import main; main(['--help'])", *heavy) == set()


@pytest.mark.parametrize("module", ["data.sample_plan", "data.manifest", "recipes"])
def test_what_needs_no_torch_loads_none(module: str) -> None:
    assert loaded(f"swav_ray.{module}", "torch", "ray", *S3_CLIENTS) == set()


def test_processes_that_make_crops_do_without_torch() -> None:
    assert loaded("swav_ray.launch.crop_task", "torch", "ray") == {"ray"}


def test_a_measurement_lowers_its_priority_before_it_loads_torch() -> None:
    assert loaded("swav_ray.launch.measure_task", "torch", "ray") == {"ray"}


def test_benchmarks_import_no_tests() -> None:
    assert importers(graph_of(sources("benchmarks")), "tests") == set()


def test_nothing_patches_the_path_of_imports() -> None:
    patched = {
        name
        for name, text in sources("swav_ray", "benchmarks", "tests").items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path"
    }
    assert patched == set()
