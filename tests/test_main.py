"""`python -m swav_ray` lists every command that there is."""

from __future__ import annotations

from pathlib import Path

import pytest

import swav_ray
from swav_ray.__main__ import COMMANDS, main

PACKAGE = Path(swav_ray.__file__).parent
MOVED = {"swav_ray.launch.cluster"}  # says where it went


def test_every_command_is_listed_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    modules = {
        ".".join(("swav_ray", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__main__")
        for path in PACKAGE.rglob("*.py")
        if 'if __name__ == "__main__":' in path.read_text()
    }
    assert {f"python -m {module}" for module in modules - MOVED - {"swav_ray"}} <= set(COMMANDS)
    assert all(sum(command in line for line in listed.splitlines()) == 1 for command in COMMANDS)


def test_it_takes_no_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain"]) == 2
    assert (
        capsys.readouterr().err == "swav_ray: pretrain: is not expected here; python -m swav_ray lists the commands\n"
    )
