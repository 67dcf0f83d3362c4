"""An evaluation that trains, on Ray: its directory is claimed and locked, its workers run as pretraining's do."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, replace
from typing import Any

import ray

from swav_ray.config import ScalingConfig
from swav_ray.evaluate.fit import directory, worker
from swav_ray.evaluate.fit.task import Fit
from swav_ray.evaluate.fit.worker import Saves
from swav_ray.evaluate.results import files as results
from swav_ray.evaluate.results.protocol import Result
from swav_ray.launch.elastic import Trainer
from swav_ray.launch.ray_internals.local_ray import LocalRay
from swav_ray.launch.signals import Interrupted, StopSignals
from swav_ray.launch.worker import OverRay
from swav_ray.launch.workers import RunFailed, check_room, make_trainer, run_workers
from swav_ray.report.terminal import Terminal
from swav_ray.run import measurements
from swav_ray.run.layout import SUMMARY
from swav_ray.run.lease import Lease
from swav_ray.storage.place import Place

_MORE = "--ray-logs"


class Stopped(Interrupted):
    """The first signal has stopped it, as the terminal has said: with a checkpoint, or before it began."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What an evaluation that trains runs with.

    Attributes:
        scaling: its workers. saves: when they write checkpoints.
        terminal: shows progress. stop: the signals of the command, entered.
        local_ray: the Ray that was started for it, if any.
    """

    scaling: ScalingConfig
    saves: Saves
    terminal: Terminal
    stop: StopSignals
    local_ray: LocalRay | None


def run(fit: Fit, folder: Place, of: Result, launch: Launch) -> Result:
    """Trains an evaluation to its end, resuming one that is there, and writes what it says.

    Args:
        folder: its own directory.
        of: what is judged, without figures; its notes come first in the result's.

    Raises:
        EvaluationError: the directory holds something else. ConfigError: it is being written, or workers do not fit.
        RunFailed: it cannot continue. Stopped, Interrupted: a first, a second signal ended it.
    """
    taken = threading.Event()
    lease = Lease(folder, folder.name, launch.terminal.line, lost=taken.set, setting="--out")
    lease.acquire()
    try:
        with launch.stop.noted():
            launch.stop.raise_if_asked()
            if not (folder / SUMMARY).exists():
                check_room(launch.scaling, launch.terminal, grows=launch.local_ray is None)
            directory.claim(folder, directory.about(of))
            if not (folder / SUMMARY).exists():
                _train(fit, folder, launch, taken)
            return _conclude(fit, folder, of)
    finally:
        lease.release()


def _train(fit: Fit, folder: Place, launch: Launch, taken: threading.Event) -> None:
    launch.terminal.line(f"evaluation directory: {folder}")
    launch.terminal.waiting_for("starting workers: {}")
    shared = ray.put(fit)  # held here until the workers have ended

    def make(monitor: Any) -> Trainer:
        payload = {"fit": shared, "scaling": launch.scaling, "saves": launch.saves, "monitor": monitor}
        return make_trainer(work, launch.scaling, folder, payload)

    run_workers(
        make,
        folder,
        launch.terminal,
        launch.stop,
        taken,
        launch.local_ray,
        epochs=fit.epochs,
        more=_MORE,
    )
    if (folder / SUMMARY).exists():
        return
    if launch.stop.asked is None:
        raise RunFailed(f"the workers ended without a result; {_MORE} shows more")
    raise Stopped(launch.stop.asked)


def work(payload: dict[str, Any]) -> None:
    """The training function of Ray Train.

    Args:
        payload: `run_dir` (a Place), `fit` (a reference to a Fit), `scaling`, `saves`, and `monitor` (an actor).
    """
    folder, scaling = payload["run_dir"], payload["scaling"]
    coordinator = OverRay(scaling, folder, payload["monitor"])
    worker.run(ray.get(payload["fit"]), folder, coordinator, payload["saves"], cpus=scaling.cpus_per_worker)


def _conclude(fit: Fit, folder: Place, of: Result) -> Result:
    finished = json.loads((folder / SUMMARY).read_bytes())
    judged = fit.judged(finished, measurements.read(folder))
    notes = [*of.notes, *fit.notes, *judged.notes]
    result = replace(of, figures=judged.figures, correct=judged.correct, draws=judged.draws, notes=notes)
    results.write(folder, result)
    (folder / results.PICTURE).write_bytes(judged.picture)
    return result
