"""`ray job submit` end to end: dashboard and job server, token authentication, data and runs on a real S3 server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from benchmarks.parts.s3_server import S3Server
from swav_ray import settings
from swav_ray.config import Config, replace
from swav_ray.data.shapes import write_shapes
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import place
from swav_ray.training import checkpoint
from tests.launch.conftest import tiny

# Minutes of clusters and job servers: with -m slow.
pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.slow, pytest.mark.timeout(1200)]
ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).parent / "ray")
EPOCHS, STEPS = 12, 108


@dataclass(frozen=True)
class Cluster:
    """A head started by `ray start`, reached over HTTP only, as from a laptop."""

    address: str
    environment: dict[str, str]
    job_environment: dict[str, str]
    transcript: Path

    def ray(self, *words: str, token: bool = True) -> subprocess.CompletedProcess[str]:
        """`ray job WORDS`, with and without the token; the command and its output go into the transcript."""
        environment = dict(self.environment)
        if not token:
            environment |= {"RAY_AUTH_MODE": "disabled", "HOME": str(self.transcript.parent)}
            del environment["RAY_AUTH_TOKEN_PATH"]
        command = [RAY, "job", words[0], "--address", self.address, *words[1:]]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=900, check=False
        )
        shown = " ".join(word if len(word) < 100 else "'{...}'" for word in ["ray", *command[1:]])
        with open(self.transcript, "a") as file:
            output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
            file.write(f"$ {shown}\n{output}[exit status {done.returncode}]\n\n")
        return done

    def submit(self, name: str, config: Config, *options: str, token: bool = True) -> subprocess.CompletedProcess[str]:
        """Submits a pretraining whose config lies in the bucket, under the id `name`."""
        file = place(config.run.storage) / f"{name}.yaml"
        file.write_bytes(settings.to_yaml(config).encode())
        environment = json.dumps({"env_vars": self.job_environment})
        words = ["--submission-id", name, "--working-dir", ".", "--runtime-env-json", environment, *options]
        return self.ray("submit", *words, "--", "python", "-m", "swav_ray.pretrain", "--config", str(file), token=token)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def cluster(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("job")
    (folder / "token").write_text("0123456789abcdef" * 4)
    environment = _environment() | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    with _head("ray start --head", environment) as address:
        made = Cluster(address, environment, s3_server.environment, folder / "transcript.txt")
        _wait_for_job_server(made)
        made.transcript.write_text("")
        yield made


def _environment() -> dict[str, str]:
    """What a shell of a user has, and what this machine needs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    environment.pop("PYTHONPATH", None)  # the job's code is what it brings along
    return environment | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # the job says `python`
        "RAY_worker_niceness": "0",  # else workers get nothing of a busy machine
        "RAY_JOB_STOP_WAIT_TIME_S": "120",  # as in clusters/: the default of 3 s would cut the last checkpoint off
    }


@contextlib.contextmanager
def _head(command: str, environment: dict[str, str]) -> Iterator[str]:
    """Starts a head by a shell command that ends in `ray start --head`; the address of its job server."""
    names = ["port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port", "metrics-export-port"]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    sessions = tempfile.mkdtemp(prefix="rj-", dir="/tmp")  # its sockets' paths must be short
    words = ["--num-cpus=4", "--node-ip-address=127.0.0.1", f"--temp-dir={sessions}"]
    words += ["--disable-usage-stats", "--include-log-monitor=false", "--object-store-memory=200000000"]
    words += [f"--{name}={port}" for name, port in ports.items()]
    try:
        started = _shell(f"{command} {shlex.join(words)}", environment)
        assert started.returncode == 0, started.stdout + started.stderr
        yield f"http://127.0.0.1:{ports['dashboard-port']}"
    finally:
        _end_processes_of(sessions)
        shutil.rmtree(sessions, ignore_errors=True)


def _shell(command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )


def _end_processes_of(sessions: str) -> None:
    """Ends the Ray whose sessions lie there; `ray stop` would end every Ray of the machine."""
    ours = [
        process for process in psutil.process_iter(["cmdline"]) if sessions in " ".join(process.info["cmdline"] or [])
    ]
    ours += [child for process in ours for child in process.children(recursive=True)]
    for process in ours:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(ours, timeout=30)


def _wait_for_job_server(cluster: Cluster) -> None:
    end = time.monotonic() + 600
    while (listed := cluster.ray("list")).returncode != 0:
        assert time.monotonic() < end, listed.stderr
        time.sleep(1)


@pytest.fixture(scope="module")
def config(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    """Two workers on images in a bucket, with the run in another."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        images, runs = s3_server.make_bucket("job-images"), s3_server.make_bucket("job-runs")
        write_shapes(place(images), train=72, test=24, size=32, seed=0, rows_per_shard=40)
        base = tiny(Path("x"), Path("x"), "pretrain")
        yield replace(
            base,
            run={"storage": runs},
            data={"uri": images},
            train={"epochs": EPOCHS},
            eval={"knn_every_epochs": 0},
            checkpoint={"every_epochs": 1000.0},
            scaling={"num_workers": (2,)},
        )


def test_without_the_token_no_job_is_taken(cluster: Cluster, config: Config) -> None:
    done = cluster.submit("stranger", config, "--no-wait", token=False)
    assert done.returncode != 0
    assert "Unauthorized" in done.stderr or "Authentication" in done.stderr, done.stderr
    assert cluster.ray("list").returncode == 0
    assert "stranger" not in cluster.ray("list").stdout


def test_a_users_mistake_fails_the_job_with_one_line(cluster: Cluster, config: Config) -> None:
    wrong = replace(config, run={"name": "wrong"}, data={"uri": f"{config.data.uri}/nothing-here"})
    done = cluster.submit("wrong", wrong)
    assert done.returncode == 1
    assert "failed" in done.stdout + done.stderr
    assert "swav_ray: " in done.stdout
    assert "nothing-here" in done.stdout
    assert "Traceback" not in done.stdout
    assert "exit code 2" in cluster.ray("status", "wrong").stdout


def test_a_stopped_job_leaves_a_checkpoint_and_the_next_one_goes_on_to_the_end(
    cluster: Cluster, config: Config
) -> None:
    assert cluster.submit("first", config, "--no-wait").returncode == 0
    run_dir = place(config.run.storage) / config.run.name
    end = time.monotonic() + 600
    while len(logs := cluster.ray("logs", "first").stdout) and "\nepoch" not in logs:
        assert time.monotonic() < end, logs
        time.sleep(1)
    assert cluster.ray("stop", "first").returncode == 0
    assert "was stopped" in cluster.ray("status", "first").stdout
    logs = cluster.ray("logs", "first").stdout
    assert "SIGTERM: stopping after this step, with a checkpoint" in logs
    (stopped,) = checkpoint.steps(run_dir)
    assert 0 < stopped < STEPS
    assert len(read_metrics(run_dir)) == stopped

    done = cluster.submit("second", config)
    assert done.returncode == 0
    assert f"resumed from the checkpoint before step {stopped}" in done.stdout
    assert "kNN top-1, trained backbone" in done.stdout
    assert "succeeded" in cluster.ray("status", "second").stdout
    assert [record["step"] for record in read_metrics(run_dir)] == list(range(STEPS))
    assert {record["workers"] for record in read_metrics(run_dir)} == {2}


def test_the_lines_of_the_readme_submit_a_job_to_a_head_with_defaults(shapes: Path, tmp_path: Path) -> None:
    """A head takes the token that it finds, as any earlier run on the machine leaves one, and then asks for it."""
    (authenticate,) = re.findall(r"^ray get-auth-token.*(?=\s#)", (ROOT / "README.md").read_text(), re.MULTILINE)
    file = tmp_path / "given.yaml"
    file.write_text(settings.to_yaml(tiny(shapes, tmp_path, "readme", train={"epochs": 1})))
    environment = _environment() | {"HOME": str(tmp_path)}
    with _head(f"{authenticate} && unset RAY_AUTH_MODE && ray start --head", environment) as address:
        submit = f"ray job submit --address {address} --working-dir . -- python -m swav_ray.pretrain --config {file}"
        refused = _shell(submit, environment)
        assert refused.returncode != 0
        assert "AuthenticationError" in refused.stdout + refused.stderr
        done = _shell(f"{authenticate} && {submit}", environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "the run lies in" in done.stdout
    assert (tmp_path / ".ray" / "auth_token").exists()
