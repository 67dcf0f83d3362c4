"""A training run without Ray that ends itself, as SIGKILL does, at its n-th touch of the run directory.

The parts are those that a worker uses, put together as `swav_ray/launch/worker.py` does. Run from a fork server, so
that a start costs milliseconds.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from swav_ray.data.quarantine import Quarantine
from swav_ray.data.storage import place
from swav_ray.report.history import History
from swav_ray.report.metrics_log import MetricsLog
from swav_ray.training import checkpoint
from swav_ray.training.learner import Learner
from swav_ray.training.loop import Hooks, Wish, train
from tests.training.test_learner import small_config
from tests.training.test_loop import PLAN, batches

EPOCHS = 2
STEPS = EPOCHS * PLAN.steps_per_epoch
_TOUCHES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}


def _die_at(folder: str, touch: int) -> None:
    """Ends the process just before its `touch`-th change of anything in the folder; 0: never."""
    count = itertools.count(1)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _TOUCHES:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        # A truncation names a descriptor, and only metrics.jsonl is ever truncated.
        if event != "os.truncate" and not str(arguments[0]).startswith(folder):
            return
        if next(count) == touch:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def run(folder: str, touch: int) -> None:
    """Trains from where the folder's run is to the end, unless it dies on the way."""
    torch.set_num_threads(1)
    run_dir = place(Path(folder))
    config = small_config(train={"epochs": EPOCHS}, checkpoint={"every_epochs": 0.67, "keep_last": 2})
    _die_at(folder, touch)
    learner = Learner(config, PLAN.steps_per_epoch)
    history = History(run_dir)
    found, _ = checkpoint.load_newest(run_dir)
    start = 0
    if found is not None:
        checkpoint.restore(learner, found)
        start = found.step
    log = MetricsLog(run_dir, start)
    log._scalars = lambda *_: None  # type: ignore[method-assign]  # TensorBoard's files are no part of the promise
    history.start(start, 1, log.dropped)

    def before_commit() -> None:
        history.check()
        log.flush()

    writer = checkpoint.CheckpointWriter(run_dir, checkpoint.Retention(last=2), before_commit, report=print)

    def save(step: int, top1: float | None, wait: bool) -> None:
        writer.submit(checkpoint.snapshot(learner, step, top1))
        # Always awaited: what is touched at the n-th time is then the same in every run.
        assert writer.wait(60)

    hooks = Hooks(
        record=log.append,
        save=save,
        evaluate=lambda _: None,
        wish=lambda: Wish.NONE,
        look=lambda: None,
        usage=dict,
        quarantine=Quarantine(run_dir, 24, 0.0, writes=True),
    )
    feed = itertools.islice(batches(config, STEPS), start, None)
    assert train(learner, feed, hooks, start=start, end=STEPS) == (STEPS, Wish.NONE)
    log.close()
