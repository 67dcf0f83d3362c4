"""Whether a run is done, running, stopped or broken off, by its files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from swav_ray.run.history import History, note_failure, note_stop, read_history
from swav_ray.run.lease import Lease
from swav_ray.run.state import BROKEN_OFF, FAILED, FINISHED, RUNNING, STOPPED, UNHEALTHY, state_of, why_ended
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


def test_a_run_that_its_health_ended_says_so_whatever_its_command_adds(tmp_path: Path) -> None:
    run_dir = place(tmp_path)
    history = History(run_dir)
    history.start(0, 1, [])
    history.collapsed(50, "stuck", "the loss stays at ln K")
    note_failure(run_dir, "stuck: the loss stays at ln K. try a lower epsilon", print)
    assert state_of(run_dir) == UNHEALTHY
    assert why_ended(read_history(run_dir)) == "stuck: the loss stays at ln K"
    History(run_dir).start(50, 1, [])
    assert state_of(run_dir) == BROKEN_OFF
    assert why_ended(read_history(run_dir)) == ""


def test_a_run_that_was_given_up_says_why(tmp_path: Path) -> None:
    run_dir = place(tmp_path)
    History(run_dir).start(0, 1, [])
    note_failure(run_dir, "the workers failed 4 times in a row", print)
    assert state_of(run_dir) == FAILED
    assert why_ended(read_history(run_dir)) == "the workers failed 4 times in a row"


def test_a_stop_without_workers_is_noted_once(tmp_path: Path) -> None:
    run_dir = place(tmp_path)
    history = History(run_dir)
    history.start(0, 1, [])
    note_stop(run_dir, 0, print)
    assert state_of(run_dir) == STOPPED
    note_stop(run_dir, 0, print)
    assert [entry["event"] for entry in read_history(run_dir)] == ["claim", "start", "stop"]
