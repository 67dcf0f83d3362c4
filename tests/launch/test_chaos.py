"""The chaos benchmark: its schedules, its verdict (which must be able to fail), its gate, and a few of its runs."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import types
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import chaos
from benchmarks.chaos_parts.compare import count_samples, judge, loss_difference
from benchmarks.chaos_parts.conductor import Conductor
from benchmarks.chaos_parts.job import Progress
from benchmarks.chaos_parts.schedule import KINDS, MOST_AT_ONCE, Nodes, draw
from benchmarks.chaos_parts.storage import Gate
from swav_ray.data.sample_plan import SamplePlan, digest
from swav_ray.storage.place import place
from swav_ray.training import checkpoint
from tests.launch.conftest import tiny

PLAN = SamplePlan(np.arange(50), seed=3, global_batch_size=8)
STEPS = 12


def records(**changed: Any) -> list[dict[str, Any]]:
    """The lines of a faultless run."""
    ids = [digest(batch) for batch in PLAN.batches(0, STEPS)]
    return [{"step": step, "loss": 2.0 + step, "workers": 2, "ids": ids[step]} | changed for step in range(STEPS)]


@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 40),
    steps=st.integers(20, 500),
    least=st.integers(1, 3),
    spare=st.integers(1, 3),
)
@settings(max_examples=200, deadline=None)
def test_any_seed_draws_a_schedule_that_a_cluster_can_follow(
    seed: int, count: int, steps: int, least: int, spare: int
) -> None:
    nodes = Nodes(start=least, least=least, most=least + spare)
    events = draw(seed, count, steps, nodes)
    assert events == draw(seed, count, steps, nodes)
    assert len(events) == count
    due = [event.step for event in events]
    assert due == sorted(due)
    assert all(steps // 5 <= step <= steps * 9 // 10 for step in due)
    alive = nodes.start
    for event in events:
        alive += {"join_node": 1, "lose_node": -1, "drain_node": -1}.get(event.kind, 0)
        assert nodes.least <= alive <= nodes.most


def test_as_many_events_as_kinds_have_every_kind_and_other_seeds_other_orders() -> None:
    nodes = Nodes(start=3, least=2, most=4)
    orders = {tuple(event.kind for event in draw(seed, len(KINDS), 200, nodes)) for seed in range(50)}
    assert len(orders) > 40
    assert sum(set(order) == set(KINDS) for order in orders) > 40


def test_no_more_events_come_at_one_step_than_a_run_may_fail_without_progress() -> None:
    for seed in range(50):
        due = [event.step for event in draw(seed, 8, 1000, Nodes(3, 2, 4))]
        chosen = [due.count(step) for step in set(due)]
        assert max(chosen) <= MOST_AT_ONCE + 1  # two drawn ones and one that fell on the same step by itself


def test_a_faultless_run_lost_and_repeated_nothing() -> None:
    assert count_samples(records(), PLAN, STEPS) == (0, 0)
    assert loss_difference(records(), records()) == 0.0


def test_a_missing_step_is_a_lost_batch_and_a_second_line_a_repeated_one() -> None:
    lines = records()
    assert count_samples(lines[:5] + lines[6:], PLAN, STEPS) == (8, 0)
    assert count_samples([*lines, lines[4]], PLAN, STEPS) == (0, 8)
    assert count_samples([*lines, lines[4] | {"step": STEPS}], PLAN, STEPS) == (0, 8)


def test_other_samples_than_planned_are_lost_and_repeated_ones() -> None:
    lines = records()
    lines[7] = lines[7] | {"ids": lines[2]["ids"]}
    assert count_samples(lines, PLAN, STEPS) == (8, 8)


def test_the_smallest_difference_of_a_loss_is_seen_and_a_missing_one_is_infinite() -> None:
    lines = records()
    lines[3] = lines[3] | {"loss": np.nextafter(lines[3]["loss"], 9.0)}
    assert 0 < loss_difference(lines, records()) < 1e-15
    assert loss_difference(lines[:-1], records()) == np.inf
    lines[3] = lines[3] | {"loss": float("nan")}
    assert loss_difference(lines, records()) == np.inf


@pytest.fixture
def two_runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two directories of the same faultless run."""
    from swav_ray.training.learner import Learner

    learner = Learner(tiny(tmp_path, tmp_path, "x"), PLAN.steps_per_epoch)
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in records()))
        checkpoint.write(place(folder), checkpoint.snapshot(learner, STEPS))
    return tmp_path / "one", tmp_path / "two"


def verdict(runs: tuple[Path, Path], *, constant: bool = True) -> tuple[str, ...]:
    return judge(place(runs[0]), place(runs[1]), PLAN, STEPS, constant=constant, tolerance=1e-4).problems


def rewrite(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_equal_runs_have_no_problem(two_runs: tuple[Path, Path]) -> None:
    assert verdict(two_runs) == ()


def test_the_verdict_names_what_is_wrong(two_runs: tuple[Path, Path]) -> None:
    lines = records()
    lines[6] = lines[6] | {"loss": lines[6]["loss"] * (1 + 1e-6), "workers": 3}
    rewrite(two_runs[0], lines)
    varied, differs = verdict(two_runs)
    assert "world size varied: (2, 3)" in varied
    assert "losses differ" in differs
    assert verdict(two_runs, constant=False) == ()
    rewrite(two_runs[0], [line | {"loss": line["loss"] * 1.001} for line in lines])
    assert len(verdict(two_runs, constant=False)) == 1
    rewrite(two_runs[0], lines[1:])
    assert any("8 samples lost" in problem for problem in verdict(two_runs))
    rewrite(two_runs[0], records())
    rewrite(two_runs[1], lines[1:])
    assert any("undisturbed run lost" in problem for problem in verdict(two_runs))


def test_other_weights_and_absent_ones_are_seen(two_runs: tuple[Path, Path]) -> None:
    from swav_ray.config import replace
    from swav_ray.training.learner import Learner

    other = Learner(replace(tiny(two_runs[0], two_runs[0], "x"), run={"seed": 5}), PLAN.steps_per_epoch)
    checkpoint.write(place(two_runs[0]), checkpoint.snapshot(other, STEPS))
    (differs,) = verdict(two_runs)
    assert "weights differ" in differs
    (two_runs[0] / "checkpoints" / f"step-{STEPS:09d}" / "manifest.json").unlink()
    (differs,) = verdict(two_runs, constant=False)
    assert "weights differ by up to inf" in differs


def test_progress_counts_the_steps_that_are_done_again(tmp_path: Path) -> None:
    progress = Progress(place(tmp_path), tmp_path / "log")
    progress.update()
    assert (progress.step, progress.furthest, progress.recomputed) == (-1, -1, 0)
    rewrite(tmp_path, records()[:7])
    progress.update()
    place(tmp_path / "metrics.jsonl").write_bytes("".join(json.dumps(x) + "\n" for x in records()[:4]).encode())
    progress.update()
    assert (progress.step, progress.furthest, progress.recomputed) == (3, 6, 3)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write(json.dumps(records()[4]) + "\n" + '{"step": 5, "lo')
    progress.update()
    assert (progress.step, progress.furthest, progress.recomputed) == (4, 6, 3)


def test_progress_is_read_from_the_output_where_the_run_lies_on_s3(tmp_path: Path) -> None:
    log = tmp_path / "log"
    progress = Progress(place("s3://bucket/run"), log)
    log.write_text("epoch 1/6  step 31/120  loss 2.4\nresumed from the checkpoint before step 28, with 2 workers\n")
    progress.update()
    assert (progress.step, progress.furthest, progress.recomputed) == (27, 30, 3)


@pytest.mark.parametrize(("status", "done", "problems"), [(0, True, 0), (0, False, 1), (1, True, 1)])
def test_a_job_that_ends_by_itself_is_a_problem(tmp_path: Path, status: int, done: bool, problems: int) -> None:
    if done:
        (tmp_path / "summary.json").touch()
    nothing: Any = types.SimpleNamespace
    job = nothing(start=lambda: None, poll=lambda: status, tail=lambda: "its last lines", starts=1)
    conductor = Conductor(
        job=job,
        cluster=nothing(tick=lambda: None),
        storage=nothing(gate=nothing(open=lambda: None)),
        run_dir=place(tmp_path),
        progress=nothing(update=lambda: None, furthest=0, step=0),
        nodes=Nodes(2, 2, 3),
        schedule=deque(),
    )
    conductor.run()
    assert len(conductor.problems) == problems
    assert all(f"ended by itself with status {status}" in problem for problem in conductor.problems)


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=lambda c=connection: [c.sendall(d) for d in iter(lambda: c.recv(99), b"")]).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_the_gate_relays_refuses_stalls_and_opens_again(echo: int) -> None:
    gate = Gate("127.0.0.1", echo)

    def ask(connection: socket.socket) -> bytes:
        connection.sendall(b"here?")
        return connection.recv(99)

    first = socket.create_connection(("127.0.0.1", gate.port), timeout=30)
    assert ask(first) == b"here?"
    gate.shut("refused")
    with contextlib.suppress(ConnectionError):  # reset or closed, as the moment has it
        assert ask(first) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", gate.port), timeout=30)
    gate.open()
    second = socket.create_connection(("127.0.0.1", gate.port), timeout=30)
    gate.shut("stalled")
    second.sendall(b"now?")
    second.settimeout(0.3)
    with pytest.raises(TimeoutError):
        second.recv(99)
    gate.open()
    second.settimeout(30)
    assert second.recv(99) == b"now?"
    second.close()
    gate.close()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.s3
def test_a_run_that_loses_workers_nodes_and_checkpoints_equals_one_that_does_not(tmp_path: Path) -> None:
    """A schedule as the command line runs it: a cluster of several nodes, S3, real kills; all bit for bit."""
    command = [sys.executable, "-m", "benchmarks.chaos", "--seed", "1", "--events", "3", "--storage", str(tmp_path)]
    kinds = ["kill_worker", "lose_node", "truncate_checkpoint"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY_"))}
    done = subprocess.run(
        [*command, "--kinds", *kinds], cwd=chaos.ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    found = json.loads(done.stdout)
    assert found["events"] == dict.fromkeys(kinds, 1)
    assert found["steps_recomputed"] > 0
    exact = ("samples_lost", "samples_repeated", "loss_difference", "weight_difference")
    assert [found[name] for name in exact] == [0, 0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (["--seed", "-1", "--events", "1"], "must not be negative"),
        (["--seed", "1", "--events", "1", "--workers", "3", "2"], "needs 1 <= MIN <= MAX"),
        (["--seed", "1"], "--events"),
    ],
)
def test_a_wrong_word_is_told_in_one_line(words: list[str], right: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        chaos.parse(words)
    assert left.value.code == 2
    assert right in capsys.readouterr().err
