"""Evaluations that train, on Ray: stopped, killed and resumed as pretraining is, equal bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from swav_ray import settings
from swav_ray.config import replace
from swav_ray.data import manifest as manifests
from swav_ray.evaluate.__main__ import main
from swav_ray.run import measurements
from swav_ray.run.history import read_history
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from swav_ray.training.learner import Learner
from tests.launch.conftest import tiny
from tests.launch.test_stopping import processes_of, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]
STEPS = 27  # three epochs of nine


@pytest.fixture(scope="module")
def run_dir(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A pretraining that has a list of images and one checkpoint."""
    storage = tmp_path_factory.mktemp("runs")
    config = replace(tiny(shapes, storage, "run"), data={"uri": str(shapes)})
    folder = place(storage) / "run"
    manifests.save(manifests.build(str(shapes)), folder / "manifest.parquet")
    (folder / "config.yaml").write_bytes(settings.to_yaml(config).encode())
    checkpoint.write(folder, checkpoint.snapshot(Learner(config, 9), 9))
    return folder


def words(protocol: str, run_dir: Place, out: Path, *more: str) -> list[str]:
    rate = {"linear": "0.1", "finetune": "0.05"}[protocol]
    given = ["--checkpoint", run_dir.uri, "--out", str(out), "--scaling.cpus_per_worker", "0.5"]
    return [protocol, *given, "--epochs", "3", "--batch", "8", "--lr", rate, *more]


def folder_of(out: Path) -> Place:
    """The evaluation's directory, which has its protocol's name and hash."""
    (file,) = out.rglob("evaluation.json")
    return place(file.parent)


def outcome(folder: Place) -> tuple[Any, ...]:
    """Everything that it left, but for times: steps, judgements, images that were right, and every tensor."""
    records = [(record["step"], record["loss"], record["ids"]) for record in read_metrics(folder)]
    state, _ = checkpoint.load_newest(folder)
    assert state is not None
    tensors = {name: tensor.numpy().tobytes() for name, tensor in (state.model | state.training).items()}
    document = json.loads((folder / "results.json").read_bytes())
    return records, measurements.read(folder), document["figures"], document["correct"], tensors


@pytest.fixture(scope="module")
def undisturbed(cluster: None, run_dir: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    assert main(words("linear", run_dir, out)) == 0
    return out


def test_it_leaves_a_result_of_what_it_was_given(undisturbed: Path, run_dir: Place) -> None:
    folder = folder_of(undisturbed)
    records, rows, figures, correct, tensors = outcome(folder)
    assert [step for step, _, _ in records] == list(range(STEPS))
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert set(figures) == {f"{name}, {which} epoch" for name in ("top-1", "top-5") for which in ("last", "best")}
    assert len(correct) == 24
    assert set(tensors) == {"weight", "bias", "momentum.weight", "momentum.bias"}
    document = json.loads((folder / "results.json").read_bytes())
    assert (document["protocol"], document["settings"]["epochs"]) == ("linear", 3)
    assert not document["settings"]["as published"]
    assert folder.name == f"linear-{document['hash']}"
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert not (folder / "running.json").exists()


def test_a_second_command_shows_the_result_and_trains_no_further(
    undisturbed: Path, run_dir: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    before = outcome(folder_of(undisturbed))
    history = read_history(folder_of(undisturbed))
    assert main(words("linear", run_dir, undisturbed)) == 0
    assert "top-1, last epoch" in capsys.readouterr().out
    assert outcome(folder_of(undisturbed)) == before
    assert read_history(folder_of(undisturbed)) == history


def when(reached: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """Acts once, from a thread, as soon as something is so."""

    def wait() -> None:
        while not reached():
            time.sleep(0.002)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def steps_of(out: Path) -> int:
    return sum(len(file.read_text().splitlines()) for file in out.rglob("metrics.jsonl"))


def kill_workers() -> None:
    workers = [
        process
        for process in psutil.Process().children(recursive=True)
        if "RayTrainWorker" in " ".join(process.cmdline())
    ]
    assert workers
    for worker in workers:
        worker.kill()


@pytest.mark.parametrize("protocol", ["linear", pytest.param("finetune", marks=pytest.mark.slow)])
def test_killed_workers_cost_nothing(
    protocol: str, run_dir: Place, undisturbed: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    whole = undisturbed
    if protocol != "linear":
        whole = tmp_path / "whole"
        assert main(words(protocol, run_dir, whole)) == 0
    out = tmp_path / "killed"
    thread = when(lambda: steps_of(out) > 5, kill_workers)
    assert main(words(protocol, run_dir, out, "--save-seconds", "0.05")) == 0
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert len([entry for entry in read_history(folder_of(out)) if entry["event"] == "start"]) == 2
    assert outcome(folder_of(out)) == outcome(folder_of(whole))


@pytest.mark.slow
def test_a_signal_leaves_a_checkpoint_from_which_the_same_command_resumes(
    run_dir: Place, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """So many epochs that they cannot all pass while the request is on its way."""
    command = words("linear", run_dir, tmp_path, "--epochs", "150")
    when(lambda: steps_of(tmp_path) > 3, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert main(command) == 128 + signal.SIGINT
    assert "stopped before step" in capfd.readouterr().out
    (reached,) = checkpoint.steps(folder_of(tmp_path))[-1:]
    assert 0 < reached < 150 * 9
    assert main(command) == 0
    assert f"resumed from the checkpoint before step {reached}" in capfd.readouterr().out
    records, rows, *_ = outcome(folder_of(tmp_path))
    assert [step for step, _, _ in records] == list(range(150 * 9))
    assert [row["epoch"] for row in rows] == list(range(1, 151))


@pytest.mark.slow
def test_a_job_that_is_killed_with_its_ray_resumes(run_dir: Place, undisturbed: Path, tmp_path: Path) -> None:
    """Everything of the job at once, as when its machine is switched off, and the same command again."""
    out = tmp_path / "off"
    command = [sys.executable, "-m", "swav_ray.evaluate", *words("linear", run_dir, out, "--save-seconds", "0.05")]
    job = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    thread = when(lambda: steps_of(out) > 12, lambda: [process.kill() for process in processes_of(job.pid)])
    assert job.wait() == -signal.SIGKILL
    thread.join()
    wait_until(lambda: not processes_of(job.pid))
    assert steps_of(out) < STEPS
    assert subprocess.run(command, check=False).returncode == 0
    assert outcome(folder_of(out)) == outcome(folder_of(undisturbed))


@pytest.mark.slow
def test_two_workers_judge_as_one_does(run_dir: Place, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "two"
    assert main(words("linear", run_dir, out, "--scaling.num_workers", "2")) == 0
    one, two = outcome(folder_of(undisturbed)), outcome(folder_of(out))
    assert [(step, ids) for step, _, ids in two[0]] == [(step, ids) for step, _, ids in one[0]]
    assert [loss for _, loss, _ in two[0]] == pytest.approx([loss for _, loss, _ in one[0]], rel=1e-3)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--batch", "100"), "--batch 100: is more than the 72 labelled images"),
        (("--optim.base_lr", "1"), "--optim.base_lr: this command takes no such setting, only those of scaling, data."),
        (("--scaling.num_workers", "0"), "scaling.num_workers = (0,): needs a number of at least 1"),
        (("--epoch", "3"), "--epoch: no such option; did you mean --epochs?"),
        (("--epochs", "0"), "argument --epochs: '0' is not a positive whole number"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    more: tuple[str, ...], told: str, run_dir: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words("linear", run_dir, tmp_path / "out", *more)) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"swav_ray: {told}")
    assert shown.count("\n") == 1
    assert list(tmp_path.rglob("linear*")) == []


def test_files_that_no_evaluation_wrote_are_left_alone(
    undisturbed: Path, run_dir: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pretraining's checkpoint in the place of an evaluation's, as if somebody had copied it there."""
    name = folder_of(undisturbed)
    there = place(tmp_path) / name.parent.name / name.name
    checkpoint.write(there, checkpoint.snapshot(Learner(tiny(tmp_path, tmp_path, "x"), 9), 9))
    assert main(words("linear", run_dir, tmp_path)) == 2
    told = capsys.readouterr().err
    assert "which no evaluation of this kind wrote; give another --out" in told
    assert told.count("\n") == 1
    assert checkpoint.steps(there) == [9]
