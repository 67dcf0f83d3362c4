"""Where images and runs lie, and a gate before S3: all goes through it until it refuses or stalls, as an outage does.

The server itself is left alone, so the same outage can be made before any server, a real cloud's stand-in included.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.parts.s3_server import S3Server
from swav_ray.data.shapes import write_shapes
from swav_ray.data.tools.importer import import_shards
from swav_ray.storage.place import place

Outage = Literal["refused", "stalled"]


class Gate:
    """A TCP relay on loopback.

    Args:
        host, port: the server behind it.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._open = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = _listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._open.set()
        threading.Thread(target=self._accept, args=(self._listener,), name="gate", daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def shut(self, outage: Outage) -> None:
        """Begins an outage: connections cut and refused, or left open without an answer."""
        if outage == "stalled":
            self._open.clear()
            return
        with self._lock:
            _close(self._listener)
            for connection in self._sockets:
                _close(connection)
            self._sockets.clear()

    def open(self) -> None:
        """Ends the outage."""
        self._open.set()
        if self._listener.fileno() == -1:
            self._listener = _listen(self.port)
            threading.Thread(target=self._accept, args=(self._listener,), name="gate", daemon=True).start()

    def close(self) -> None:
        self._open.set()
        self.shut("refused")

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server, timeout=10)
            except OSError:
                _close(client)
                continue
            server.settimeout(None)
            with self._lock:
                if listener.fileno() == -1:
                    _close(client)
                    _close(server)
                    return
                self._sockets |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), name="gate", daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self._open.wait()
                sink.sendall(data)
        with self._lock:
            self._sockets -= {source, sink}
        _close(source)
        _close(sink)


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@dataclass(frozen=True)
class Storage:
    """Where things lie: images, run directories (one place of `runs`, by seed), and the gate before the S3 server."""

    images: str
    runs: tuple[str, ...]
    gate: Gate

    def runs_of(self, seed: int, outage: bool = False) -> str:
        """Where a seed's run lies: on S3 if the schedule has an outage and there is a choice."""
        if outage:
            return self.runs[-1]
        return self.runs[np.random.default_rng([seed, 0x73746F72]).integers(len(self.runs))]


@contextmanager
def storage_for(wanted: str | None, folder: Path, images: int, *, ranges: bool = False) -> Iterator[Storage]:
    """So many images on S3 and places for runs, with the environment set for everything that is started from here.

    Args:
        wanted: a place for all runs; None: a local folder or S3, as the seed draws.
        folder: a local one, for what is started here.
        images: of the data set.
        ranges: in shards of which each image is read by itself, as `import` writes them.
    """
    with ExitStack() as stack:
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        bucket = ""
        if not endpoint:
            server = S3Server(folder / "s3")
            server.start()
            stack.callback(server.kill)
            os.environ.update(server.environment)
            endpoint, bucket = server.endpoint, server.make_bucket("chaos")
        parts = urllib.parse.urlsplit(endpoint)
        gate = Gate(parts.hostname or "127.0.0.1", parts.port or 80)
        stack.callback(gate.close)
        os.environ["AWS_ENDPOINT_URL"] = gate.endpoint
        runs = (wanted,) if wanted else (str(folder / "runs"), f"{bucket}/runs")[: 2 if bucket else 1]
        if bucket and runs[0].startswith("s3://"):
            server.client().create_bucket(Bucket=urllib.parse.urlsplit(runs[0]).netloc)
        data = f"{bucket or runs[0].rstrip('/')}/_images"
        write_shapes(place(data), train=images, test=0, size=32, seed=0, rows_per_shard=64)
        if ranges:
            import_shards(data, f"{data}_imported", shard_bytes=1 << 17)
            data += "_imported"
        yield Storage(data, runs, gate)
