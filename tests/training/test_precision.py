"""bf16 follows float32: the quickstart's loss over 200 steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.precision import Runs, distance
from swav_ray.recipes import quickstart


@pytest.mark.slow
def test_bf16_follows_float32_as_closely_as_docs_say(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        runs = Runs(quickstart(), tmp_path)
        exact = runs.losses(200, "fp32")
        found = distance(runs.losses(200, "bf16"), exact)
    finally:
        torch.set_num_threads(threads)
    assert exact[:50].mean() - exact[-50:].mean() > 1  # it learns
    assert found["mean"] < 0.15
    assert found["of_last_50_steps"] < 0.25
