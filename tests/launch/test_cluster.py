"""`python -m swav_ray.launch.cluster`, which older pages name, says where it went."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_command_that_moved_names_its_new_place_and_is_a_mistake() -> None:
    command = [sys.executable, "-m", "swav_ray.launch.cluster", "plan", "--nodes", "g6.2xlarge:8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert "use python -m swav_ray.plan cost" in done.stderr
    assert done.stderr.count("\n") == 1
