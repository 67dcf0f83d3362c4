"""A run killed at any touch of its directory goes on as if nothing had happened; without Ray, so at each of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from swav_ray.data.sample_plan import digest
from tests.training.crash_child import STEPS
from tests.training.test_loop import PLAN


def test_killed_at_any_touch_of_its_directory_a_run_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    """In a process of its own, since it forks, which a process with Ray's or torch's threads cannot do safely."""
    command = [sys.executable, "-m", "tests.training.crash_child", str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    ids = [digest(batch) for batch in PLAN.batches(0, STEPS)]
    assert [(step, digits) for step, _, digits in found["undisturbed"]] == list(enumerate(ids))
    assert found["step"] == STEPS
    assert found["touches"] > 30, "where it touches nothing, nothing is tested"
    assert found["wrong"] == {}, done.stderr
