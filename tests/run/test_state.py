"""Whether a run is done, running, stopped or broken off, by its files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from swav_ray.run.history import History
from swav_ray.run.lease import Lease
from swav_ray.run.state import BROKEN_OFF, FINISHED, RUNNING, STOPPED, state_of
from swav_ray.storage.place import place

KILLED = """
import os, sys
from swav_ray.run.lease import Lease
from swav_ray.storage.place import place
Lease(place(sys.argv[1]), "r", print).acquire()
os._exit(1)
"""


def test_a_run_is_running_while_its_command_holds_it(tmp_path: Path) -> None:
    run_dir = place(tmp_path)
    History(run_dir).start(0, 1, [])
    lease = Lease(run_dir, "r", print)
    lease.acquire()
    assert state_of(run_dir) == RUNNING
    lease.release()
    assert state_of(run_dir) == BROKEN_OFF


def test_a_killed_command_leaves_a_run_that_is_broken_off(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert (tmp_path / "running.json").exists()
    assert state_of(place(tmp_path)) == BROKEN_OFF


def test_another_machines_command_is_taken_to_live(tmp_path: Path) -> None:
    holder = {"host": "another", "pid": 1, "processes": "x", "started": 0}
    (tmp_path / "running.json").write_text(json.dumps(holder))
    assert state_of(place(tmp_path)) == RUNNING


def test_a_stop_is_known_until_the_next_start_and_a_summary_ends_it_all(tmp_path: Path) -> None:
    run_dir = place(tmp_path)
    history = History(run_dir)
    history.start(0, 1, [])
    history.stop(5)
    assert state_of(run_dir) == STOPPED
    History(run_dir).start(5, 1, [])
    assert state_of(run_dir) == BROKEN_OFF
    (tmp_path / "summary.json").write_text("{}")
    assert state_of(run_dir) == FINISHED
