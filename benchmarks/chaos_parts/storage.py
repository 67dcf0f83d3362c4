"""A gate before an S3 server: everything goes through it until it refuses or stalls, as an outage does.

The server itself is left alone, so the same outage can be made before any server, a real cloud's stand-in included.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Literal

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
