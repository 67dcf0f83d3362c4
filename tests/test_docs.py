"""README and docs/: the README is short, and every command, file and room that a page names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from swav_ray import recipes

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SET_UP = "python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e"
RUN = f"{SET_UP} . && .venv/bin/python -m swav_ray.pretrain"
TEST = f"{SET_UP} '.[test]' && .venv/bin/python -m pytest -n 2"

# A file of the repository in backticks or in a command; NAME and * stand for any name.
FILE = re.compile(
    r"(?<![\w/.:-])(?:swav_ray|tests|benchmarks|tune_spaces|clusters|docs)/[\w*./-]+\.(?:py|ya?ml|npz|jsonl|md|png)"
)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(params=PAGES, ids=named)
def page(request: pytest.FixtureRequest) -> str:
    return Path(request.param).read_text()


def module_exists(name: str) -> bool:
    """Whether `python -m NAME` finds something to run."""
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def tree() -> str:
    """The README's picture of the house."""
    return README.read_text().split("## The house")[1].split("```")[1]


def names_of(line: str) -> list[str]:
    """`model/ loss/ optim/   what they are` -> the three names in front of the wide gap."""
    return re.split(r" {2,}", line.strip())[0].split()


def test_a_newcomer_reads_the_readme_in_one_sitting() -> None:
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("command", [RUN, TEST], ids=["run", "test"])
def test_one_command_runs_it_and_one_tests_it(command: str) -> None:
    assert command in README.read_text().splitlines()


def test_continuous_integration_tests_as_the_readme_does() -> None:
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1].partition('python" ')[2] == TEST.partition("python ")[2]


def test_the_readme_shows_no_raw_json() -> None:
    assert re.findall(r"""^\s*[{\[]\s*["'{\[\d].*""", README.read_text(), re.MULTILINE) == []


def test_every_module_that_is_run_exists(page: str) -> None:
    modules = re.findall(r"python -m ((?:swav_ray|benchmarks)[\w.]*\w)", page)
    assert [name for name in modules if not module_exists(name)] == []


def test_a_benchmark_is_run_as_a_module_and_never_as_a_file(page: str) -> None:
    assert re.findall(r"python benchmarks/\S+", page) == []


def test_every_file_that_is_named_exists(page: str) -> None:
    missing = [name for name in FILE.findall(page) if "NAME" not in name and not list(ROOT.glob(name))]
    assert missing == []


def test_every_file_of_the_tree_exists() -> None:
    lines = tree().strip().splitlines()
    assert names_of(lines[0]) == ["swav_ray/"]
    for line in lines[1:]:
        folder = ROOT / "swav_ray" if line.startswith(" ") else ROOT
        assert [name for name in names_of(line) if not (folder / name).exists()] == [], line


def test_the_tree_shows_every_room() -> None:
    shown = {name for line in tree().splitlines() if line.startswith(" ") for name in names_of(line)}
    package = [path for path in (ROOT / "swav_ray").iterdir() if not path.name.startswith("__")]
    rooms = {f"{path.name}/" if path.is_dir() else path.name for path in package}
    assert shown == rooms


def test_every_link_of_the_readme_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README.read_text())
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_recipes_page_has_the_table_as_generated() -> None:
    assert recipes.table() in (ROOT / "docs" / "recipes.md").read_text()


def test_the_site_loads_nothing_from_the_network_and_builds_strictly() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert site["theme"]["font"] is False
    assert site["strict"] is True
    assert "mkdocs" in (ROOT / ".ci" / "run").read_text()
    for kind, checks in (("nav", {"omitted_files", "not_found"}), ("links", {"not_found", "anchors"})):
        assert {name for name in checks if site["validation"][kind].get(name) == "warn"} == checks
