"""What a worker's process sets."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from benchmarks.parts.small import small_config
from swav_ray.training.torch_setup import set_up_torch

_PAGES = """
import resource, torch
from swav_ray.training.torch_setup import keep_memory
assert keep_memory()
def step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(13 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
pages = [step() for _ in range(6)]  # malloc may join free pieces first, wherever they lie
assert pages[0] > 10_000 and pages[-1] < 100, pages
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_memory_that_is_kept_costs_no_pages_after_some_steps() -> None:
    done = subprocess.run([sys.executable, "-c", _PAGES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_worker_has_as_many_threads_as_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swav_ray.training.torch_setup.keep_memory", lambda: True)  # not in the tests' own process
    threads = torch.get_num_threads()
    try:
        set_up_torch(small_config(scaling={"cpus_per_worker": 3.0}), torch.device("cpu"))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("keeps", [True, False])
def test_memory_is_kept_if_the_config_says_so(keeps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("swav_ray.training.torch_setup.keep_memory", lambda: asked.append(True))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    set_up_torch(small_config(performance={"keep_memory": keeps}), torch.device("cpu"))
    assert bool(asked) == keeps
