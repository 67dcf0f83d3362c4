"""One worker of a run, without Ray: it resumes, ends as requested, and is killed at any touch of its directory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from swav_ray import worker
from swav_ray.data import manifest as manifests
from swav_ray.data.formats.rows import Rows
from swav_ray.data.manifest import Manifest
from swav_ray.data.sample_plan import digest
from swav_ray.run import checkpoint_files, layout, measurements
from swav_ray.run.events import Events
from swav_ray.run.history import read_history
from swav_ray.run.messages import Finishing, Leaving, Measured, Resizing, Resumed, Stopped, Waiting, Warned
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from swav_ray.training.control import Request
from swav_ray.training.coordinator import NodeLeaves
from tests import in_process
from tests.in_process import STEPS, InProcess, make_run, run, tiny
from tests.training.test_loop import PLAN


@pytest.fixture(autouse=True)
def torch_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker sets torch up for its process. TensorBoard takes seconds to import."""
    monkeypatch.setattr(Events, "write", lambda *_: None)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture
def run_dir(tmp_path: Path) -> Place:
    return make_run(tmp_path / "run")


def trained(run_dir: Place) -> list[tuple[int, float, str]]:
    return [(record["step"], record["loss"], record["ids"]) for record in read_metrics(run_dir)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Events, "write", lambda *_: None)
        run_dir = make_run(tmp_path_factory.mktemp("undisturbed"))
        run(tiny(), run_dir)
    return run_dir


@pytest.mark.long
@pytest.mark.parametrize("how", [[], pytest.param(["beside"], marks=pytest.mark.slow)], ids=["inside", "beside"])
def test_killed_at_any_touch_of_its_directory_a_run_ends_as_if_it_had_not_been(tmp_path: Path, how: list[str]) -> None:
    """In a process of its own, since it forks, which a process with Ray's or torch's threads cannot do safely."""
    command = [sys.executable, "-m", "tests.crash_child", str(tmp_path), *how]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == {}, done.stderr
    assert found["touches"] > 60, "if it touches nothing, nothing is tested"
    undisturbed = found["undisturbed"]
    ids = [digest(batch) for batch in PLAN.batches(0, STEPS)]
    assert [(step, digits) for step, _, digits in undisturbed["records"]] == list(enumerate(ids))
    assert [row["step"] for row in undisturbed["measurements"]] == [3, 6]
    assert undisturbed["bad"] == [4, 17]
    assert undisturbed["step"] == STEPS


def test_a_stopped_run_has_a_checkpoint_and_resumes_as_if_it_had_not_stopped(
    run_dir: Place, undisturbed: Place
) -> None:
    first = run(tiny(), run_dir, {2: Request.STOP})
    assert first.events[-2:] == [Stopped(3), "saved"]
    assert first.given is not None
    assert first.given.closed
    assert checkpoint.steps(run_dir)[-1] == 3
    assert [entry["event"] for entry in read_history(run_dir)] == ["claim", "start", "stop"]
    second = run(tiny(), run_dir)
    assert second.events[:2] == [Resumed(3, 1), "begin 3"]
    assert trained(run_dir) == trained(undisturbed)


def test_a_state_that_was_saved_and_not_measured_is_measured_first(run_dir: Place, undisturbed: Place) -> None:
    run(tiny(), run_dir, {2: Request.STOP})
    assert measurements.read(run_dir) == []
    second = run(tiny(), run_dir)
    assert [event.row["step"] for event in second.events if isinstance(event, Measured)] == [3, 6]
    assert measurements.read(run_dir) == measurements.read(undisturbed)


def test_workers_that_resize_save_and_wait_to_be_ended(run_dir: Place) -> None:
    coordinator = InProcess(tiny(), {1: Request.RESIZE})
    with pytest.raises(RuntimeError, match="the number of workers was to change"):
        worker.run(tiny(), run_dir, coordinator)
    assert coordinator.events[-3:] == [Resizing(2), "saved", "wait"]
    assert checkpoint.steps(run_dir) == [2]
    assert coordinator.reason == ""


def test_workers_leave_a_preempted_node_with_a_checkpoint_and_without_a_failure(run_dir: Place) -> None:
    coordinator = InProcess(tiny(), {0: Request.LEAVE})
    with pytest.raises(NodeLeaves, match="leaving before step 1, with a checkpoint"):
        worker.run(tiny(), run_dir, coordinator)
    assert coordinator.events[-2:] == [Leaving(1), "saved"]
    assert checkpoint.steps(run_dir) == [1]
    assert (coordinator.reason, coordinator.failures) == ("", [])


def test_the_last_message_of_a_finished_run_is_waited_for(run_dir: Place) -> None:
    events = run(tiny(), run_dir).events
    assert events[-1] == "saved"
    assert Finishing() in events


def test_what_takes_long_is_reported_before_it_begins(run_dir: Place) -> None:
    events = run(tiny(), run_dir).events
    assert events.index(Waiting("kNN before step 3")) < [type(event) for event in events].index(Measured)
    assert events.index(Waiting("the checkpoint before step 6")) < events.index(Finishing())


def test_crops_that_are_late_are_reported_until_they_come(run_dir: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, False, True])
    monkeypatch.setattr(in_process.Feed, "ready", lambda *_: next(answers, True))
    events = run(tiny(), run_dir).events
    assert events.count(Waiting("crops")) == 2


def test_a_finished_run_is_left_alone(undisturbed: Place) -> None:
    before = {entry.name: entry.etag_or_mtime for entry in undisturbed.list()}
    assert run(tiny(), undisturbed).events == []
    assert {entry.name: entry.etag_or_mtime for entry in undisturbed.list()} == before


def test_a_run_that_was_given_up_is_left_alone(run_dir: Place) -> None:
    coordinator = InProcess(tiny())
    coordinator.give_up("no use")
    worker.run(tiny(), run_dir, coordinator)
    assert coordinator.events == []
    assert read_history(run_dir) == []


def test_workers_that_may_not_begin_fail_with_the_reason(run_dir: Place) -> None:
    coordinator = InProcess(tiny(), refusal="the workers failed 4 times in a row")
    with pytest.raises(RuntimeError, match="failed 4 times"):
        worker.run(tiny(), run_dir, coordinator)
    assert coordinator.failures == ["RuntimeError: the workers failed 4 times in a row"]


def test_what_every_further_try_would_meet_again_ends_the_run(run_dir: Place) -> None:
    coordinator = InProcess(tiny())
    with pytest.raises(Exception, match="images cannot be read"):
        worker.run(tiny(data={"max_bad_fraction": 0.0}), run_dir, coordinator)
    assert "images cannot be read" in coordinator.reason
    assert coordinator.failures == []


def test_what_another_try_may_mend_is_a_failure_of_these_workers(run_dir: Place) -> None:
    (run_dir / "manifest.parquet").delete()
    coordinator = InProcess(tiny())
    with pytest.raises(FileNotFoundError):
        worker.run(tiny(), run_dir, coordinator)
    assert coordinator.reason == ""
    assert coordinator.failures[0].startswith("FileNotFoundError: ")


def copy_of(source: Place, step: int, folder: Path) -> Place:
    """A trial's run directory that begins with a checkpoint of another one, as population-based training makes it."""
    made = make_run(folder)
    for name, data in checkpoint_files.read(layout.checkpoint_folder(source, step)).items():
        (layout.checkpoint_folder(made, step) / name).write_bytes(data)
    manifest = layout.checkpoint_folder(source, step) / layout.CHECKPOINT_MANIFEST
    (layout.checkpoint_folder(made, step) / layout.CHECKPOINT_MANIFEST).write_bytes(manifest.read_bytes())
    (made / layout.TRIAL).write_bytes(json.dumps({"origin": {"run_dir": source.uri, "step": step}}).encode())
    return made


def test_a_trial_that_began_with_anothers_checkpoint_resumes_like_any_run(undisturbed: Place, tmp_path: Path) -> None:
    run_dir = copy_of(undisturbed, 4, tmp_path / "copy")
    run(tiny(), run_dir, {4: Request.STOP})
    assert trained(run_dir) == trained(undisturbed)[4:5]
    assert run(tiny(), run_dir).events[0] == Resumed(5, 1)
    assert trained(run_dir) == trained(undisturbed)[4:]


def test_a_trial_that_began_with_anothers_last_step_is_finished_at_once(undisturbed: Place, tmp_path: Path) -> None:
    run_dir = copy_of(undisturbed, STEPS, tmp_path / "copy")
    coordinator = run(tiny(), run_dir)
    assert (coordinator.reason, coordinator.failures) == ("", [])
    summary = json.loads((run_dir / layout.SUMMARY).read_bytes())
    assert (summary["steps"], summary["loss_last_epoch"], summary["images_per_second"]) == (STEPS, None, None)


def test_a_device_that_is_not_there_is_a_failure_of_the_worker(run_dir: Place) -> None:
    class NoDevice(InProcess):
        @property
        def device(self) -> torch.device:
            raise RuntimeError("no CUDA device")

    coordinator = NoDevice(tiny())
    with pytest.raises(RuntimeError, match="no CUDA device"):
        worker.run(tiny(), run_dir, coordinator)
    assert coordinator.failures == ["RuntimeError: no CUDA device"]


def test_a_last_measurement_whose_report_was_lost_is_reported_again(undisturbed: Place, tmp_path: Path) -> None:
    run_dir = copy_of(undisturbed, STEPS, tmp_path / "copy")
    for name in (layout.METRICS, layout.MEASUREMENTS):
        (run_dir / name).write_bytes((undisturbed / name).read_bytes())
    (run_dir / layout.TRIAL).delete()
    reported = [event.row for event in run(tiny(), run_dir).events if isinstance(event, Measured)]
    assert reported == [measurements.read(undisturbed)[-1]]
    assert measurements.read(run_dir) == measurements.read(undisturbed)


@pytest.mark.parametrize("beside", [False, True])
def test_a_run_whose_held_out_images_cannot_be_read_ends_and_says_so(tmp_path: Path, beside: bool) -> None:
    rows = Rows(uri=[f"{i:02d}.jpg" for i in range(27)], label=[0] * 27, split=[0] * 24 + [1] * 3)
    run_dir = place(tmp_path / "run")
    manifests.save(Manifest(rows.table(), str(tmp_path / "gone"), ["one"], "0"), run_dir / layout.MANIFEST)
    heard = run(tiny(), run_dir, beside=beside)
    warnings = [event.text for event in heard.events if isinstance(event, Warned) and "held-out" in event.text]
    assert len(warnings) == 1
    assert warnings[0].startswith("3 held-out images cannot be read and are left out of kNN")
    assert [row["held_out_unreadable"] for row in measurements.read(run_dir)] == [3, 3]
    summary = json.loads((run_dir / layout.SUMMARY).read_bytes())
    assert (summary["knn_top1"], summary["held_out_images"], summary["held_out_unreadable"]) == ({}, 3, 3)
    assert summary["why_no_knn"].startswith("none of 3 held-out images can be read; for example")
    lines = [json.loads(line) for line in (run_dir / layout.QUARANTINE).read_bytes().splitlines()]
    assert [line["sample_id"] for line in lines if line.get("held_out")] == [24, 25, 26]
    assert [line["sample_id"] for line in lines if not line.get("held_out")] == [4, 17]
    assert summary["bad_images"] == 2
