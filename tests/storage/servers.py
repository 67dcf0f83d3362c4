"""Stand-ins for S3 servers, which answer what a test tells them to."""

from __future__ import annotations

import hashlib
import http.server
import socket
import threading
from typing import Any

import pytest


def use_server(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the environment to a server on this machine."""
    settings = {"ENDPOINT_URL": f"http://127.0.0.1:{port}", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}
    for name, value in (settings | {"DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)


class Answers:
    """A server that answers by the path of a request, with a status and bytes, the last of them for ever."""

    def __init__(self) -> None:
        self.paths: dict[str, list[tuple[int, bytes]]] = {}
        self.asked: list[str] = []  # by whom: boto3 or the fast way
        self.connections = 0
        answers = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                left = answers.paths.get(self.path, [(404, b"")])
                status, data = left.pop(0) if len(left) > 1 else left[0]
                answers.asked.append("boto3" if "Boto3" in self.headers.get("User-Agent", "") else "fast")
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128

            def get_request(self) -> tuple[socket.socket, Any]:
                answers.connections += 1
                return super().get_request()

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class CutOff:
    """A server that promises ten bytes and gives three."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")


class Unconditional:
    """A server of objects that are read, written and removed by their path, and that knows no conditional writes.

    It says so by status 501, or else ignores the condition.
    """

    def __init__(self, *, says_so: bool) -> None:
        objects: dict[str, bytes] = {}

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(data))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                if self.path not in objects:
                    return self.answer(404)
                return self.answer(200, objects[self.path], ETag=self.etag())

            def do_PUT(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                if says_so and (self.headers["If-Match"] or self.headers["If-None-Match"]):
                    return self.answer(501, b"<Error><Code>NotImplemented</Code></Error>")
                objects[self.path] = data
                return self.answer(200, ETag=self.etag())

            def do_DELETE(self) -> None:
                objects.pop(self.path, None)
                self.answer(204)

            def etag(self) -> str:
                return f'"{hashlib.md5(objects[self.path]).hexdigest()}"'

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
