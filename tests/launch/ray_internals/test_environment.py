"""Ray still reads the variables in environment.py: it would ignore others silently."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from swav_ray.launch.ray_internals.environment import FAST_RECOVERY, METADATA_INLINE
from tests.launch.ray_internals.contract import Contract

MEND = "swav_ray/launch/ray_internals/environment.py"


@pytest.mark.parametrize("name", FAST_RECOVERY)
def test_train_passes_a_variable_on_to_the_controller_and_the_workers(name: str) -> None:
    contract = Contract(MEND, breaks="failures and preemptions are noticed late")
    passed_on = contract.name("ray.train.v2._internal.constants:ENV_VARS_TO_PROPAGATE")
    contract.check(name in passed_on, f"{name} is not passed on; these are: {', '.join(sorted(passed_on))}")


def test_data_fetches_metadata_in_the_scheduling_loop() -> None:
    contract = Contract(MEND, breaks="Ray Data sees late that a crop task has ended, and a core is idle")
    module, maker = "ray.data._internal.execution.metadata_fetcher", "make_metadata_fetcher"
    contract.name(f"{module}:{maker}")
    # Read when the module is imported, so in another process.
    code = f"from {module} import {maker}; print(type({maker}()).__name__)"
    found = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | METADATA_INLINE, capture_output=True, text=True, check=True
    )
    contract.check(
        found.stdout.split()[-1] == "InlineMetadataFetcher", f"{METADATA_INLINE} makes it use {found.stdout}"
    )
