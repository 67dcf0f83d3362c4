"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

from benchmarks.parts.gloo import GlooPool
from benchmarks.parts.s3_server import S3Server

settings.register_profile("suite", deadline=None)  # how busy the machine is decides no test
settings.load_profile("suite")


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running SeaweedFS for the whole session. Use `s3` for a bucket and the environment to reach it."""
    server = S3Server(tmp_path_factory.mktemp("weed"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The s3:// place of a fresh bucket, with endpoint and keys in the environment."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return s3_server.make_bucket(f"t-{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="session")
def gloo_pool() -> Iterator[GlooPool]:
    """Eight gloo workers for the whole session."""
    pool = GlooPool(8)
    yield pool
    pool.close()


def pytest_configure(config: pytest.Config) -> None:
    """Of several processes, each computes with one thread, and so does what it starts."""
    if hasattr(config, "workerinput"):
        os.environ["OMP_NUM_THREADS"] = "1"
        torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is marked slow, unless markers or tests were asked for by name.

    Several processes begin with the longest files, so that all end together: those with Ray and those with a long test.
    """
    if hasattr(config, "workerinput"):
        first = {item.path for item in items if item.get_closest_marker("ray") or item.get_closest_marker("long")}
        items.sort(key=lambda item: item.path not in first)
    if config.option.markexpr or any("::" in argument for argument in config.args):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    items[:] = [item for item in items if item not in slow]
    config.hook.pytest_deselected(items=slow)
