"""Servers for the tests of storage."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.parts.s3_server import S3Server
from tests.storage.servers import Answers, CutOff, use_server


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    """What the bucket b answers."""
    made = Answers()
    use_server(made.server.server_port, monkeypatch)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that promises ten bytes and gives three."""
    made = CutOff()
    use_server(made.listener.getsockname()[1], monkeypatch)
    yield
    made.listener.close()


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server that a test may take away."""
    server = S3Server(tmp_path_factory.mktemp("weed-outage"))
    server.start()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.make_bucket("outage")
    yield server
    server.kill()
