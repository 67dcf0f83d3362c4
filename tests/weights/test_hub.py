"""hf://organisation/name[/file][@revision] is read from a Hub, here one on this machine; every mistake is one line."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from swav_ray.weights import hub
from swav_ray.weights.read import WeightsError
from tests.weights import foreign

COMMIT = "c0ffee" + "0" * 34
CODE = """
import sys
from swav_ray import load_backbone
for name in sys.argv[1:]:
    try:
        backbone = load_backbone(name)
        print(backbone.origin.place, backbone.feature_dim)
    except ValueError as error:
        print("refused", error)
"""


@pytest.fixture(scope="module")
def weights() -> bytes:
    return foreign.saved(foreign.published(foreign.model().state_dict()))


@pytest.fixture(scope="module")
def endpoint(weights: bytes) -> Iterator[str]:
    """A Hub with org/one (one file of weights and a card) and org/two (two of them)."""
    names = {"org/one": ["README.md", "swav.pth"], "org/two": ["a.pth", "b.pth"]}

    class Handler(BaseHTTPRequestHandler):
        def answer(self, body: bytes, headers: dict[str, str], status: int = 200) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].strip("/")
            for name, files in names.items():
                if path == f"api/models/{name}/tree/main":
                    tree = [{"type": "file", "path": file, "size": len(weights), "oid": "0" * 40} for file in files]
                    return self.answer(json.dumps(tree).encode(), {"Content-Type": "application/json"})
                for revision in ("main", "v1"):
                    if path in {f"{name}/resolve/{revision}/{file}" for file in files if file.endswith(".pth")}:
                        etag = hashlib.sha256(weights).hexdigest()
                        return self.answer(weights, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
                    if path.startswith(f"{name}/resolve/{revision}/"):
                        return self.answer(b"", {"X-Error-Code": "EntryNotFound"}, 404)
            return self.answer(b"", {"X-Error-Code": "RepoNotFound"}, 404)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_weights_of_a_hub(endpoint: str, tmp_path: Path) -> None:
    """In a process of its own: huggingface_hub reads its endpoint from the environment when it is imported."""
    names = [
        "hf://org/one",
        "hf://org/one/swav.pth@v1",
        "hf://org/two/b.pth",
        "hf://org/two",
        "hf://org/one/missing.pth",
        "hf://org/nothing",
    ]
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run([sys.executable, "-c", CODE, *names], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == ["hf://org/one/swav.pth 64", "hf://org/one/swav.pth@v1 64", "hf://org/two/b.pth 64"]
    assert lines[3] == "refused hf://org/two: holds several files of weights; give one of a.pth, b.pth"
    assert lines[4].startswith("refused hf://org/one/missing.pth: the Hub does not give it: ")
    assert lines[5].startswith("refused hf://org/nothing: the Hub does not give it: ")
    assert len(lines) == len(names)


@pytest.mark.parametrize("name", ["hf://", "hf://name", "hf://org/", "hf://org/name@"])
def test_a_name_that_is_none_is_told(name: str) -> None:
    with pytest.raises(WeightsError, match=r"must be hf://organisation/name\[/file\]\[@revision\]"):
        hub.fetch(name)


def test_without_huggingface_hub_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match=r"needs huggingface_hub; pip install 'swav_ray\[hub\]'$"):
        hub.fetch("hf://org/name")


def test_a_safetensors_file_is_taken_before_others() -> None:
    assert hub._only(["model.bin", "model.safetensors", "README.md"], "x") == "model.safetensors"
    with pytest.raises(WeightsError, match="x: holds no file of weights"):
        hub._only(["README.md"], "x")


def test_a_hub_that_does_not_answer_is_told_in_a_line(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens
        environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{closed.getsockname()[1]}",
            "HF_HOME": str(tmp_path),
        }
        code = f"from huggingface_hub.utils import _http\n_http.time.sleep = lambda seconds: None\n{CODE}"
        command = [sys.executable, "-c", code, "hf://org/one"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment | {"NO_PROXY": "127.0.0.1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused hf://org/one: the Hub does not give it: ")
