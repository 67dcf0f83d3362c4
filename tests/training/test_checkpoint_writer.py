"""Checkpoints written beside training: storage that fails costs no step, and no older checkpoint."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.parts.s3_server import S3Server
from benchmarks.parts.small import small_config
from swav_ray.storage.place import Place, place
from swav_ray.storage.s3 import client as s3_client
from swav_ray.training import checkpoint
from swav_ray.training import checkpoint_writer as writers
from swav_ray.training.checkpoint_writer import CheckpointWriter
from swav_ray.training.learner import Learner
from tests.training.test_checkpoint import advance


class Disk:
    """A place's `write_bytes` that fails as a full disk does while told to, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full, self.writes = False, 0
        whole = Place.write_bytes

        def write_bytes(self_: Place, data: bytes) -> None:
            self.writes += 1
            if self.full and self_.name == "training.safetensors":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self_.uri)
            whole(self_, data)

        monkeypatch.setattr(Place, "write_bytes", write_bytes)


def writer(run_dir: Place, said: list[str]) -> CheckpointWriter:
    return CheckpointWriter(run_dir, checkpoint.Retention(last=2), lambda: None, said.append)


def test_a_full_disk_costs_no_step_and_no_older_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "_RETRY_SECONDS", 0.01)
    run_dir, learner, disk, said = place(tmp_path), Learner(small_config(), 3), Disk(monkeypatch), []
    background = writer(run_dir, said)
    background.submit(checkpoint.snapshot(learner, 1))
    assert background.wait(30)
    disk.full = True
    background.submit(checkpoint.snapshot(learner, 2))
    assert not background.wait(0.3)
    assert (background.written(1), background.written(2)) == (True, None)
    assert checkpoint.steps(run_dir) == [1]
    assert "step 2 cannot be written yet, training continues: [Errno 28]" in said[0]
    background.submit(checkpoint.snapshot(learner, 3))  # the newer one takes the place of the one that waits
    disk.full = False
    assert background.wait(30)
    assert checkpoint.steps(run_dir) in ([1, 3], [2, 3])
    assert checkpoint.load(run_dir, 3).step == 3
    assert background.written(3)
    assert background.written(2) is (2 in checkpoint.steps(run_dir))


def test_what_awaits_its_measurement_is_written_though_a_newer_one_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "_RETRY_SECONDS", 0.01)
    run_dir, learner, disk = place(tmp_path), Learner(small_config(), 3), Disk(monkeypatch)
    awaited = {1, 2}
    background = CheckpointWriter(run_dir, checkpoint.Retention(last=1), lambda: None, print, awaited=awaited)
    disk.full = True
    for step in (1, 2, 3, 4):
        background.submit(checkpoint.snapshot(learner, step))
    assert not background.wait(0.3)
    awaited.discard(2)
    disk.full = False
    assert background.wait(30)
    assert set(checkpoint.steps(run_dir)) == {1, 4}
    assert [background.written(step) for step in (1, 3, 4)] == [True, False, True]


def test_a_step_is_written_once_and_what_the_run_resumed_from_not_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir, learner, disk = place(tmp_path), Learner(small_config(), 3), Disk(monkeypatch)
    background = writer(run_dir, [])
    background.submit(checkpoint.snapshot(learner, 1, 50.0))
    assert background.wait(30)
    written = disk.writes
    again = CheckpointWriter(run_dir, checkpoint.Retention(last=1), lambda: None, print, last=1)
    for one in (background, again):
        one.submit(checkpoint.snapshot(learner, 1))
        assert one.wait(30)
    assert disk.writes == written
    assert checkpoint.load(run_dir, 1).meta["knn_top1"] == 50.0


def test_old_ones_that_cannot_be_removed_do_not_make_the_new_one_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir, learner, disk, said = place(tmp_path), Learner(small_config(), 3), Disk(monkeypatch), []
    background = CheckpointWriter(run_dir, checkpoint.Retention(last=1), lambda: None, said.append)
    background.submit(checkpoint.snapshot(learner, 1))
    assert background.wait(30)

    def busy(_: Place) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    with monkeypatch.context() as patched:
        patched.setattr(Place, "delete_tree", busy)
        background.submit(checkpoint.snapshot(learner, 2))
        assert background.wait(30)
    assert disk.writes == 8  # four files each, once
    assert checkpoint.load(run_dir, 2).step == 2
    assert "old checkpoints cannot be removed" in said[0]


def test_an_error_that_no_retry_mends_reaches_the_trainer(tmp_path: Path) -> None:
    def refuse() -> None:
        raise RuntimeError("another start writes here now")

    background = CheckpointWriter(place(tmp_path), checkpoint.Retention(last=1), refuse, print)
    background.submit(checkpoint.snapshot(Learner(small_config(), 3), 1))
    with pytest.raises(RuntimeError, match="another start"):
        background.wait(30)


@pytest.mark.s3
def test_storage_that_goes_away_holds_up_no_step_and_has_the_checkpoint_once_it_is_back(
    s3: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(s3_client, "PATIENCE_SECONDS", 0.5)
    run_dir, learner, said = place(f"{s3}/run"), Learner(small_config(), 3), []
    background = writer(run_dir, said)
    background.submit(checkpoint.snapshot(learner, 1))
    assert background.wait(60)
    s3_server.kill()
    background.submit(checkpoint.snapshot(learner, 2))
    assert not background.wait(3.0)
    losses = advance(learner, 0, 3)
    background.submit(checkpoint.snapshot(learner, 3))
    s3_server.start()
    assert background.wait(120)
    assert np.isfinite(losses).all()
    assert checkpoint.load_newest(run_dir)[0].step == 3  # type: ignore[union-attr]
    assert said


def test_what_an_earlier_start_was_killed_before_removing_is_removed_on_resume(tmp_path: Path) -> None:
    run_dir, learner = place(tmp_path), Learner(small_config(), 3)
    for step in (1, 2, 3):
        checkpoint.write(run_dir, checkpoint.snapshot(learner, step))
    CheckpointWriter(run_dir, checkpoint.Retention(last=2), lambda: None, print, last=3)
    assert checkpoint.steps(run_dir) == [2, 3]
