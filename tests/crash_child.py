"""A run of the real worker, without Ray, that ends itself, as SIGKILL does, at its n-th touch of the run directory.

    python -m tests.crash_child FOLDER [beside]

runs once undisturbed, measured by its worker or beside training. Then, once for each touch, it runs in forks of itself,
which cost milliseconds: killed there, and resumed. Prints one JSON line: how many touches there are, and what went
wrong, by touch.
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

from swav_ray.data.quarantine import Quarantine
from swav_ray.run import measurements
from swav_ray.run.events import Events
from swav_ray.run.history import read_history
from swav_ray.run.layout import SUMMARY
from swav_ray.run.metrics_log import logged_steps, read_metrics
from swav_ray.storage.place import is_leftover, place
from swav_ray.training import checkpoint
from swav_ray.training.control import Request
from tests.in_process import make_run, measurable, run, tiny

# A requested checkpoint is waited for, so that what is touched at the n-th time is the same in every run.
SAVES = {1: Request.SAVE, 3: Request.SAVE}
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


def train(folder: Path, touch: int, beside: bool) -> None:
    """Runs the worker from where the folder's run is to the end, unless it dies on the way."""
    Events.write = lambda *_: None  # type: ignore[method-assign]  # TensorBoard's files are no part of the promise
    _die_at(str(folder), touch)
    run(tiny(), place(folder), SAVES, beside=beside)


def outcome(folder: Path) -> dict[str, Any]:
    """What a finished run left, but for times."""
    run_dir = place(folder)
    records = read_metrics(run_dir)
    newest, problems = checkpoint.load_newest(run_dir, logged_steps(run_dir))
    summary = json.loads((run_dir / SUMMARY).read_bytes())
    return {
        "records": [(record["step"], record["loss"], record["ids"]) for record in records],
        "step": newest and newest.step,
        "model": {} if newest is None else {name: tensor.tolist() for name, tensor in newest.model.items()},
        "problems": problems,
        "checkpoints": checkpoint.steps(run_dir),
        "measurements": measurements.read(run_dir),
        "bad": sorted(Quarantine(run_dir, 24, 1.0, writes=False).entries),
        "summary": {
            name: summary[name] for name in ("steps", "loss_first", "loss_last_epoch", "bad_images", "knn_top1")
        },
        "files": sorted(entry.name for entry in run_dir.list() if not is_leftover(entry.name)),
    }


def in_a_fork(folder: Path, touch: int = 0, *, beside: bool) -> int:
    """Runs in a fork of this process; its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            train(folder, touch, beside)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def resume(folder: Path, beside: bool) -> str:
    """Resumes a run that was killed; what went wrong, or ''."""
    run_dir = place(folder)
    for entry in list(run_dir.list()):
        if is_leftover(entry.name):
            (run_dir / entry.name).write_bytes(b"never to be read")
    newest, _ = checkpoint.load_newest(run_dir, logged_steps(run_dir))
    start = newest.step if newest else 0
    lost = len(read_metrics(run_dir)) - start
    before, finished = read_history(run_dir), (run_dir / SUMMARY).exists()
    if (status := in_a_fork(folder, beside=beside)) != 0:
        return f"exit status {status}"
    added = read_history(run_dir)[len(before) :]
    events = [(entry["event"], entry.get("step"), entry.get("lost_steps")) for entry in added]
    expected = [] if finished else [("claim", None, None), ("start", start, lost)]
    return "" if events == expected else f"history has {events} instead of {expected}"


def every_touch(folder: Path, beside: bool) -> dict[str, Any]:
    """Kills a run at each of its touches and resumes it."""
    wrong: dict[str, str] = {}
    undisturbed = folder / "undisturbed"
    make_run(undisturbed)
    train(undisturbed, 0, beside)
    expected = outcome(undisturbed)
    for touch in itertools.count(1):
        disturbed = folder / str(touch)
        make_run(disturbed)
        status = in_a_fork(disturbed, touch, beside=beside)
        if status == 0:
            break
        if status != -signal.SIGKILL:
            wrong[str(touch)] = f"exit status {status}"
        elif problem := resume(disturbed, beside):
            wrong[str(touch)] = problem
        elif (found := outcome(disturbed)) != expected:
            wrong[str(touch)] = "another outcome: " + ", ".join(name for name in found if found[name] != expected[name])
    often = folder / "often"
    make_run(often)
    for touch_of_start in (21, 17, 24, 9, 12, 0):
        status = in_a_fork(often, touch_of_start, beside=beside)
    if status != 0 or outcome(often) != expected:
        wrong["often"] = f"exit status {status}, or another outcome"
    del expected["model"]
    return {"touches": touch - 1, "wrong": wrong, "undisturbed": expected}


if __name__ == "__main__":
    torch.set_num_threads(1)
    if is_beside := sys.argv[2:] == ["beside"]:
        measurable(setattr)
    print(json.dumps(every_touch(Path(sys.argv[1]), is_beside)))
