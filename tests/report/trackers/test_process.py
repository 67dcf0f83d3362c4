"""A service in a process of its own: with a real library, with one that misbehaves, and when it is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from swav_ray.report.trackers.process import Home, RemoteService
from swav_ray.report.trackers.services import Point, Run
from tests.report.trackers.mlflow_database import Database

SECONDS = 60.0


def fake_wandb(folder: Path, init: str) -> Home:
    """A home in which `import wandb` finds a library that does `init` when a run is opened."""
    (folder / "wandb.py").write_text(
        f"import os, subprocess, sys, time\ndef Settings(**_): pass\nHtml = None\ndef init(**_):\n  {init}\n"
    )
    return Home(str(folder), {})


@pytest.fixture
def found_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules the process finds before the installed ones."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return tmp_path


def test_mlflow_in_its_own_process_keeps_its_files_where_the_command_is(tmp_path: Path) -> None:
    home = Home(str(tmp_path), {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"})
    service = RemoteService("mlflow", home)
    service.open(Run("mine", {"optim.base_lr": 2.0}))
    service.log([Point(0, 1e9, {"train/loss": float("nan")}), Point(1, 1e9, {"train/loss": 2.5})])
    service.note("health", "healthy")
    page = tmp_path / "page.html"
    page.write_text("<p>")
    service.end("finished", page)
    service.kill()
    found = Database(tmp_path / "mlflow.db")
    assert found.rows("select status from runs") == [("FINISHED",)]
    assert found.rows("select value from latest_metrics where key = 'train/loss'") == [(2.5,)]
    assert found.rows("select value from tags where key = 'health'") == [("healthy",)]
    assert found.rows("select key, value from params") == [("optim.base_lr", "2.0")]


def test_wandb_without_a_login_refuses_and_asks_nobody(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    service = RemoteService("wandb", Home(str(tmp_path), {"WANDB_API_KEY": "", "NETRC": os.devnull}))
    with pytest.raises(ConnectionError, match="API key"):
        service.open(Run("mine", {}))
    service.kill()
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize(
    ("init", "said"),
    [
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise SystemExit('go\\naway')", "go away"),
        ("print('hello'); sys.stderr.write('there'); raise ValueError(repr(sys.stdin.read()))", "''"),
        ("os._exit(3)", "the process that speaks to it has ended"),
    ],
)
def test_what_a_library_does_stays_in_its_process(
    init: str, said: str, found_first: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    service = RemoteService("wandb", fake_wandb(found_first, init))
    with pytest.raises(ConnectionError) as caught:
        service.open(Run("mine", {}))
    service.kill()
    assert str(caught.value) == said
    assert "".join(capfd.readouterr()) == ""


def test_one_that_hangs_is_ended_with_what_it_started(found_first: Path) -> None:
    started = found_first / "pid"
    sleeper = "subprocess.Popen(['sleep', '1000'])"
    hang = f"open({str(started)!r}, 'w').write(str({sleeper}.pid)); time.sleep(1000)"
    said: list[str] = []
    service = RemoteService("wandb", fake_wandb(found_first, hang))

    def open_it() -> None:
        try:
            service.open(Run("mine", {}))
        except ConnectionError as error:
            said.append(str(error))

    thread = threading.Thread(target=open_it)
    thread.start()
    deadline = time.monotonic() + SECONDS
    while not (started.exists() and started.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    service.kill()
    thread.join(SECONDS)
    assert said == ["the process that speaks to it has ended"]
    while _lives(int(started.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(int(started.read_text()))


def test_it_ends_some_time_after_a_command_that_is_killed(found_first: Path) -> None:
    home = fake_wandb(found_first, "time.sleep(1000)")
    command = f"""
from swav_ray.report.trackers import process
process._GRACE = 0.1
service = process.RemoteService("wandb", process.Home({home.folder!r}, {{}}))
print(service._process.pid, flush=True)
service.open(process.Run("mine", {{}}))
"""
    with subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + SECONDS
    while _lives(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _lives(pid)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_it_does_not_hear_the_signals_of_the_commands_group(tmp_path: Path) -> None:
    home = Home(str(tmp_path), {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"})
    service = RemoteService("mlflow", home)
    service.open(Run("mine", {}))
    pid = service._process.pid
    assert os.getpgid(pid) == pid != os.getpgid(0)
    os.kill(pid, signal.SIGTERM)
    service._process.wait(SECONDS)
    assert not service.alive
    with pytest.raises(ConnectionError, match="has ended"):
        service.log([])
    service.kill()
