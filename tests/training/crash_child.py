"""A training run without Ray that ends itself, as SIGKILL does, at its n-th touch of the run directory.

The parts are those that a worker uses, put together as `swav_ray/launch/worker.py` does.

    python -m tests.training.crash_child FOLDER

runs once undisturbed, then, in forks of itself, which cost milliseconds, once for each touch: killed there, and gone on
with. Prints one JSON line: how many touches there are, and what went wrong, by touch.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import torch

from benchmarks.parts.small import small_config
from swav_ray.data.quarantine import Quarantine
from swav_ray.run.history import History
from swav_ray.run.metrics_log import MetricsLog, read_metrics
from swav_ray.storage.place import place
from swav_ray.training import checkpoint
from swav_ray.training.learner import Learner
from swav_ray.training.loop import Hooks, Wish, train
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
        ready=lambda _: True,
        usage=dict,
        quarantine=Quarantine(run_dir, 24, 0.0, writes=True),
    )
    feed = itertools.islice(batches(config, STEPS), start, None)
    assert train(learner, feed, hooks, start=start, end=STEPS) == (STEPS, Wish.NONE)
    log.close()


def outcome(folder: Path) -> dict[str, Any]:
    """Steps, losses and digests of a run's file, and its last weights."""
    records = read_metrics(place(folder))
    newest, problems = checkpoint.load_newest(place(folder))
    model = {} if newest is None else {name: tensor.tolist() for name, tensor in newest.model.items()}
    return {
        "records": [(record["step"], record["loss"], record["ids"]) for record in records],
        "step": newest and newest.step,
        "model": model,
        "problems": problems,
    }


def in_a_fork(folder: Path, touch: int = 0) -> int:
    """Runs in a fork of this process; its exit status, negative for a signal."""
    folder.mkdir(exist_ok=True)
    child = os.fork()
    if child == 0:
        try:
            run(str(folder), touch)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def every_touch(folder: Path) -> dict[str, Any]:
    """Kills a run at each of its touches and goes on with it."""
    wrong: dict[str, str] = {}
    undisturbed = folder / "undisturbed"
    undisturbed.mkdir()
    run(str(undisturbed), 0)
    expected = outcome(undisturbed)
    for touch in itertools.count(1):
        disturbed = folder / str(touch)
        status = in_a_fork(disturbed, touch)
        if status == 0:
            break
        if status != -signal.SIGKILL or (status := in_a_fork(disturbed)) != 0:
            wrong[str(touch)] = f"exit status {status}"
        elif outcome(disturbed) != expected:
            wrong[str(touch)] = "another outcome"
    often = folder / "often"
    for touch_of_start in (21, 17, 24, 9, 12, 0):
        status = in_a_fork(often, touch_of_start)
    if status != 0 or outcome(often) != expected:
        wrong["often"] = f"exit status {status}, or another outcome"
    return {"touches": touch - 1, "wrong": wrong, "undisturbed": expected["records"], "step": expected["step"]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(every_touch(Path(sys.argv[1]))))
