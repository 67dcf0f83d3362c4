"""A run killed at any touch of its directory goes on as if nothing had happened; without Ray, so at each of them."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path

import pytest

from swav_ray.data.sample_plan import digest
from swav_ray.data.storage import place
from swav_ray.report.metrics_log import read_metrics
from swav_ray.training import checkpoint
from tests.training import crash_child
from tests.training.test_loop import PLAN

MOST_TOUCHES = 300
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.training.crash_child"])


def start(folder: Path, touch: int = 0) -> int | None:
    """Runs until the end or the given touch of the folder; the exit status."""
    process = _SERVER.Process(target=crash_child.run, args=(str(folder), touch))
    process.start()
    process.join(120)
    return process.exitcode


def outcome(folder: Path) -> tuple[list[tuple[int, float, str]], dict[str, list[float]]]:
    """Steps, losses and digests of a run's file, and its last weights."""
    records = read_metrics(place(folder))
    newest, problems = checkpoint.load_newest(place(folder))
    assert newest is not None
    assert not problems
    assert newest.step == crash_child.STEPS
    weights = {name: tensor.double().flatten().tolist() for name, tensor in newest.model.items()}
    return [(record["step"], record["loss"], record["ids"]) for record in records], weights


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert start(folder) == 0
    return folder


def test_the_undisturbed_run_follows_the_plan(undisturbed: Path) -> None:
    steps, _ = outcome(undisturbed)
    ids = [digest(batch) for batch in PLAN.batches(0, crash_child.STEPS)]
    assert [(step, digits) for step, _, digits in steps] == list(enumerate(ids))


def test_killed_at_any_touch_of_its_directory_a_run_ends_as_if_it_had_not_been(
    undisturbed: Path, tmp_path: Path
) -> None:
    expected = outcome(undisturbed)
    for touch in range(1, MOST_TOUCHES):
        folder = tmp_path / f"touch-{touch}"
        folder.mkdir()
        status = start(folder, touch)
        if status == 0:
            break  # it has fewer touches than this
        assert status == -signal.SIGKILL
        assert start(folder) == 0, f"after a kill at touch {touch}"
        assert outcome(folder) == expected, f"after a kill at touch {touch}"
    assert 30 < touch < MOST_TOUCHES - 1, "the run must be killed often, and not be longer than the test looks"


def test_killed_again_and_again_on_the_way_it_still_ends_the_same(undisturbed: Path, tmp_path: Path) -> None:
    for touch in (21, 17, 24, 9, 12):
        assert start(tmp_path, touch) == -signal.SIGKILL
    assert start(tmp_path) == 0
    assert outcome(tmp_path) == outcome(undisturbed)
