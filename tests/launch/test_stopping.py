"""A run is stopped as a person at a terminal, `timeout`, Slurm and a service manager stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from swav_ray import pretrain, settings
from swav_ray.config import Config, replace
from swav_ray.data import manifest
from swav_ray.data.sample_plan import SamplePlan, digest
from swav_ray.run.metrics_log import read_metrics
from swav_ray.run.state import STOPPED, state_of
from swav_ray.storage.place import place
from swav_ray.training import checkpoint
from tests.launch.conftest import tiny

pytestmark = pytest.mark.ray
STARTING = "images to train on"  # in the last line before Ray starts
TRAINING = "images/s"
BOUND = 180.0  # seconds in which a stopped run has ended even on a machine that is busy; many times what it needs


class Command:
    """`python -m swav_ray.pretrain` in a session of its own, whose leader and group leader it is."""

    def __init__(self, config: Config, folder: Path) -> None:
        file = folder / f"{config.run.name}.yaml"
        file.write_text(settings.to_yaml(config))
        words = [sys.executable, "-u", "-m", "swav_ray.pretrain", "--config", str(file)]
        self._process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self._lines: list[str] = []
        self._family: list[psutil.Process] = []

    def reach(self, text: str) -> None:
        """Waits for a line that has this text."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if text in line:
                return
        pytest.fail(f"no line has {text!r}:\n{''.join(self._lines)}")

    def send(self, number: signal.Signals, to: str) -> None:
        """Sends a signal to the "pid" or to the "group"."""
        self._family = processes_of(self._process.pid)
        {"pid": os.kill, "group": os.killpg}[to](self._process.pid, number)

    def kill_program(self, name: str) -> None:
        """Kills the process of Ray that runs this program."""
        self._family = processes_of(self._process.pid)
        (process,) = [process for process in self._family if process.name() == name]
        process.kill()

    def end(self) -> tuple[int, str]:
        """Exit status and output, once it has ended and nothing that it started is left."""
        rest, _ = self._process.communicate(timeout=BOUND)
        output = "".join(self._lines) + rest
        wait_until(lambda: not any(map(alive, self._family)) and not processes_of(self._process.pid))
        return self._process.returncode, output

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def processes_of(session: int) -> list[psutil.Process]:
    """Processes of a session that have not ended."""
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session:
                found.append(psutil.Process(pid))
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return [process for process in found if alive(process)]


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + BOUND
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Config], Command]]:
    commands: list[Command] = []

    def begin(config: Config) -> Command:
        commands.append(Command(config, tmp_path))
        return commands[-1]

    yield begin
    for command in commands:
        command.kill()


def assert_exactly_once(config: Config, images: Path, steps: int) -> None:
    """Every step of the file once, with the samples that the plan names and no other."""
    records = read_metrics(place(config.run.storage) / config.run.name)
    plan = SamplePlan(manifest.build(str(images)).train_ids(), config.run.seed, config.train.global_batch_size)
    assert [record["step"] for record in records] == list(range(steps))
    assert [record["ids"] for record in records] == [digest(batch) for batch in plan.batches(0, steps)]


def losses(config: Config) -> list[float]:
    return [record["loss"] for record in read_metrics(place(config.run.storage) / config.run.name)]


@pytest.mark.parametrize(
    ("number", "to"),
    [pytest.param(signal.SIGINT, "pid", marks=pytest.mark.slow), (signal.SIGTERM, "group")],
)
def test_a_stopped_command_leaves_a_checkpoint_and_resumes(
    number: signal.Signals,
    to: str,
    start: Callable[[Config], Command],
    shapes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its own Ray on this machine's CPUs, from the command line, as a user has it; a second one is refused."""
    config = tiny(shapes, tmp_path, "stopped", train={"epochs": 300}, checkpoint={"every_epochs": 1000.0})
    command = start(config)
    command.reach(TRAINING)
    if to == "pid":
        assert pretrain.main(["--config", str(tmp_path / "stopped.yaml")]) == 2
        assert "run.name = 'stopped': is running already" in capsys.readouterr().err
    command.send(number, to)
    status, output = command.end()
    assert status == 0, output
    assert f"{number.name}: stopping" in output
    run_dir = place(tmp_path / "stopped")
    (stopped,) = checkpoint.steps(run_dir)
    assert f"stopped before step {stopped}, with a checkpoint" in output
    assert f"the run's page: {run_dir}/report.html" in output
    assert state_of(run_dir) == STOPPED
    assert "Traceback" not in output
    assert "(raylet)" not in output
    assert 0 < stopped < 2700
    assert len(read_metrics(run_dir)) == stopped
    if to == "group":
        return
    command = start(config)
    command.reach(f"resumed from the checkpoint before step {stopped}")
    command.reach(TRAINING)
    command.send(signal.SIGINT, "pid")
    assert command.end()[0] == 0
    (further,) = [step for step in checkpoint.steps(run_dir) if step > stopped]
    assert_exactly_once(config, shapes, further)


def test_what_is_stopped_while_ray_starts_leaves_nothing_running(
    start: Callable[[Config], Command], shapes: Path, tmp_path: Path
) -> None:
    command = start(tiny(shapes, tmp_path, "starting"))
    command.reach(STARTING)
    command.send(signal.SIGTERM, "group")
    status, output = command.end()
    assert status == 0, output
    assert "SIGTERM: stopped before training started; the same command starts it" in output
    assert "Traceback" not in output


# Each step is saved where the checkpoint is the phase, and kNN follows each epoch where that is.
PHASES = {
    "start": STARTING,
    "training": TRAINING,
    "checkpoint": TRAINING,
    "knn": ": kNN top-1",
    "end": "kNN on held-out",
}
EPOCHS, STEPS = 40, 360


def in_phase(phase: str, images: Path, storage: Path) -> Config:
    every = 0.1 if phase == "checkpoint" else 1000.0
    config = tiny(images, storage, "run", train={"epochs": EPOCHS}, checkpoint={"every_epochs": every})
    return replace(config, eval={"knn_every_epochs": 1 if phase == "knn" else 0})


@pytest.fixture(scope="module")
def undisturbed(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    folder = tmp_path_factory.mktemp("undisturbed")
    config = in_phase("training", shapes, folder)
    command = Command(config, folder)
    assert command.end()[0] == 0
    return losses(config)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["pid", "group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("phase", PHASES)
def test_a_first_signal_costs_nothing_in_any_phase(
    phase: str,
    number: signal.Signals,
    to: str,
    undisturbed: list[float],
    start: Callable[[Config], Command],
    shapes: Path,
    tmp_path: Path,
) -> None:
    config = in_phase(phase, shapes, tmp_path)
    command = start(config)
    command.reach(PHASES[phase])
    command.send(number, to)
    status, output = command.end()
    assert status == 0, output
    assert "Traceback" not in output
    steps = checkpoint.steps(place(tmp_path / "run"))
    assert bool(steps) == (phase != "start")
    assert len(losses(config)) == max(steps, default=0)
    status, output = start(config).end()
    assert status == 0, output
    assert "kNN top-1, trained backbone" in output
    assert losses(config) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("to", ["pid", "group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("phase", ["start", "training", "checkpoint", "knn"])
def test_a_second_signal_ends_it_at_once_and_the_run_resumes(
    phase: str,
    number: signal.Signals,
    to: str,
    undisturbed: list[float],
    start: Callable[[Config], Command],
    shapes: Path,
    tmp_path: Path,
) -> None:
    config = in_phase(phase, shapes, tmp_path)
    command = start(config)
    command.reach(PHASES[phase])
    command.send(number, to)
    time.sleep(1.5)  # a second signal within a second is the same request
    command.send(number, to)
    status, output = command.end()
    # In between it may have stopped, and the interpreter may be ending.
    assert status in (0, 128 + number, -number), output
    assert "Traceback" not in output
    status, output = start(config).end()
    assert status == 0, output
    assert losses(config) == undisturbed


@pytest.mark.slow
def test_a_killed_command_leaves_nothing_running(
    start: Callable[[Config], Command], shapes: Path, tmp_path: Path
) -> None:
    command = start(tiny(shapes, tmp_path, "killed", train={"epochs": 300}))
    command.reach(TRAINING)
    command.send(signal.SIGKILL, "pid")
    assert command.end()[0] == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("program", ["raylet", "gcs_server"])
def test_a_run_whose_ray_is_killed_says_so_and_resumes(
    program: str, start: Callable[[Config], Command], shapes: Path, tmp_path: Path
) -> None:
    config = tiny(shapes, tmp_path, "lost", train={"epochs": 300})
    command = start(config)
    command.reach(PHASES["knn"])  # the checkpoint of this epoch is there, or about to be
    command.kill_program(program)
    status, output = command.end()
    assert status == 1
    assert f"Ray's {program} ended; the same command resumes from the last checkpoint" in output
    command = start(config)
    command.reach("resumed from the checkpoint")
    command.send(signal.SIGINT, "pid")
    assert command.end()[0] == 0
