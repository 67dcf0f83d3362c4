"""A trial of a sweep: an actor that holds no CPU, starts a training like any other and hands on what it measures.

Training goes on while Tune decides. What a trial knows lies in its run directory, so a trial that starts again, in a
sweep that was killed or after a pause, tells what was measured before and trains from the newest checkpoint.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import ray
from ray import tune
from ray.util.placement_group import PlacementGroup, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from swav_ray import settings
from swav_ray.config import Config, replace
from swav_ray.evaluate.collapse import collapsed, grace_steps, uniform_loss
from swav_ray.launch.elastic import prefer_fast_recovery
from swav_ray.launch.monitor import Monitor
from swav_ray.launch.supervise import supervise
from swav_ray.launch.sweep.space import Translate, Values, config_of
from swav_ray.launch.train import make_trainer
from swav_ray.launch.worker import run
from swav_ray.one_line import last_line
from swav_ray.run import measurements
from swav_ray.run.layout import (
    CHECKPOINT_MANIFEST,
    CONFIG,
    MANIFEST,
    ORIGIN,
    SUMMARY,
    TRIAL,
    checkpoint_folder,
)
from swav_ray.run.messages import Measured
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint

_POLL_SECONDS = 0.2
_STOP_SECONDS = 60.0  # that a training may take to stop, checkpoint included, before its workers are taken away


log = logging.getLogger(__name__)


class TrialFailed(RuntimeError):
    """The trial has no result; the message is one line."""


class TrialCollapsed(TrialFailed):
    """The trial learned nothing and will not; the message says what shows it."""


@dataclass(frozen=True)
class Plan:
    """What all trials of a sweep share.

    Attributes:
        base: the recipe with the sweep's settings; `run.storage` is where the trials' run directories lie.
        translate: values to settings, where they are not settings themselves.
        manifest: the file with the list of samples, made once. images: how many of them are trained on.
        groups: name of the `Groups` actor.
    """

    base: Config
    translate: Translate | None
    manifest: Place
    images: int
    groups: str

    def config(self, values: Values) -> Config:
        return config_of(self.base, values, self.translate)


@ray.remote(num_cpus=0)
class Groups:
    """Which trials hold machines, and which placement groups, so that what a dead trial held can be freed.

    Ray frees a placement group with the job, not with the actor that made it.
    """

    def __init__(self) -> None:
        self._held: dict[str, list[PlacementGroup]] = {}

    def begin(self, trial: str) -> None:
        """A trial is about to start; what an earlier try of it held is freed."""
        self.release(trial)
        self._held[trial] = []

    def note(self, trial: str, group: PlacementGroup) -> None:
        self._held.setdefault(trial, []).append(group)

    def end(self, trial: str) -> None:
        """A trial has stopped in good order."""
        self._held.pop(trial, None)

    def release(self, trial: str) -> None:
        """Removes what a trial holds, and with it the workers in there."""
        for group in self._held.pop(trial, []):
            remove_placement_group(group)

    def busy(self) -> list[str]:
        """Trials that hold something."""
        return list(self._held)


def _work(payload: dict[str, Any]) -> None:
    """The training function of a trial's workers: notes where it runs, then trains."""
    group = ray.util.get_current_placement_group()
    if group is not None:
        ray.get(payload["groups"].note.remote(payload["trial"], group))
    run(payload)


def trial_directory(trials: Place, trial: str, generation: int) -> Place:
    """The run directory of a trial; population-based training starts a new generation with each copied weight."""
    return trials / (f"{trial}-g{generation}" if generation else trial)


def newest_generation(trials: Place, trial: str) -> int | None:
    """The last generation of a trial that has a run directory; None where it has not started."""
    generation = 0
    while (trial_directory(trials, trial, generation) / TRIAL).exists():
        generation += 1
    return generation - 1 if generation else None


def read_trial(run_dir: Place) -> dict[str, Any]:
    """trial.json of a run directory: trial, generation, values, origin, state, reason and seconds trained."""
    about: dict[str, Any] = json.loads((run_dir / TRIAL).read_bytes())
    return about


def update_trial(run_dir: Place, **changed: Any) -> None:
    """Changes fields of trial.json."""
    about = read_trial(run_dir) | changed
    (run_dir / TRIAL).write_bytes(json.dumps(about, indent=1).encode())


def copy_newest(run_dir: Place, due: int, folder: Path) -> int | None:
    """Copies the newest checkpoint of a run into a local folder.

    Returns:
        Its step; None where it is older than `due`, or the training that goes on has dropped it meanwhile.
    """
    steps = checkpoint.steps(run_dir)
    if not steps or steps[-1] < due:
        return None
    source = checkpoint_folder(run_dir, steps[-1])
    try:
        # Read first, since it is dropped first: a checkpoint that is being dropped still lists some of its files.
        manifest = (source / CHECKPOINT_MANIFEST).read_bytes()
        for name in json.loads(manifest):
            (folder / name).write_bytes((source / name).read_bytes())
    except FileNotFoundError:
        return None
    (folder / CHECKPOINT_MANIFEST).write_bytes(manifest)
    return steps[-1]


class Trial(tune.Trainable):
    """One training of a sweep; each step is a measurement. Raises TrialFailed where there is nothing to tell."""

    def setup(self, values: Values, plan: Plan) -> None:  # type: ignore[override]
        self._values, self._plan = values, plan
        self._groups = ray.get_actor(plan.groups)
        self._config = plan.config(values)
        self._trials = place(plan.base.run.storage)
        self._run_dir: Place | None = None
        self._thread: threading.Thread | None = None
        self._failure: list[BaseException] = []
        self._waiting: list[dict[str, Any]] = []
        self._seen: list[dict[str, Any]] = []
        self._began = 0.0

    # What Tune calls.

    def step(self) -> dict[str, Any]:
        if self._thread is None:
            self._begin()
        try:
            row = self._next()
        except TrialFailed as error:
            self._give_up("failed", error)
        self._seen.append(row)
        done = row["step"] >= self._end
        if done:
            self._join()
        if reason := collapsed(self._seen, self._ln_k, self._grace):
            self._give_up("collapsed", TrialCollapsed(reason))
        return self._report(row, done)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """The newest checkpoint of the training, whole, for another trial to go on from."""
        run_dir = self._directory()
        due = self._seen[-1]["step"] if self._seen else 0
        deadline = time.monotonic() + _STOP_SECONDS
        # Written beside the training, so that of the last measurement may take a moment.
        while (step := copy_newest(run_dir, due, Path(checkpoint_dir))) is None:
            if time.monotonic() > deadline:
                raise TrialFailed(f"{run_dir} has no checkpoint of step {due} after {_STOP_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)
        (Path(checkpoint_dir) / ORIGIN).write_text(json.dumps({"run_dir": run_dir.uri, "step": step}))

    def load_checkpoint(self, checkpoint_dir: str) -> None:  # type: ignore[override]
        """Goes on from a checkpoint: in the same run directory if it is this trial's own, else in a new one."""
        folder = Path(checkpoint_dir)
        origin = json.loads((folder / ORIGIN).read_text())
        newest = newest_generation(self._trials, self.trial_id)
        if newest is None:
            self._run_dir = self._make_directory(0, origin, folder)
            return
        at = trial_directory(self._trials, self.trial_id, newest)
        about = read_trial(at)
        if self._same_values(about) and (origin["run_dir"] == at.uri or about["origin"] == origin):
            self._run_dir = at
            return
        self._run_dir = self._make_directory(newest + 1, origin, folder)
        update_trial(at, state="replaced")

    def cleanup(self) -> None:
        """Stops the training with a checkpoint and gives its workers back."""
        if self._thread is not None and self._thread.is_alive():
            ray.get(self._mailbox.request_stop.remote())
            self._thread.join(timeout=_STOP_SECONDS)
        if self._thread is not None:
            free: Any = self._groups.release if self._thread.is_alive() else self._groups.end
            ray.get(free.remote(self.trial_id))

    # The run directory.

    def _same_values(self, about: dict[str, Any]) -> bool:
        return bool(about["values"] == json.loads(json.dumps(self._values)))

    def _directory(self) -> Place:
        if self._run_dir is None:
            newest = newest_generation(self._trials, self.trial_id)
            if newest is None:
                self._run_dir = self._make_directory(0)
            else:
                self._run_dir = trial_directory(self._trials, self.trial_id, newest)
        return self._run_dir

    def _make_directory(
        self, generation: int, origin: dict[str, Any] | None = None, start: Path | None = None
    ) -> Place:
        """A new run directory that begins with the checkpoint in the folder `start`, of `origin`, if there is one.

        trial.json, without which it is none, is written last: half a copy would train on from random weights.
        """
        run_dir = trial_directory(self._trials, self.trial_id, generation)
        run_dir.delete_tree()  # of a try that was killed; its checkpoint may be a later one of another trial
        if origin is not None and start is not None:
            for name in [*json.loads((start / CHECKPOINT_MANIFEST).read_bytes()), CHECKPOINT_MANIFEST]:
                (checkpoint_folder(run_dir, origin["step"]) / name).write_bytes((start / name).read_bytes())
        config = replace(self._config, run={"name": run_dir.name})
        (run_dir / MANIFEST).write_bytes(self._plan.manifest.read_bytes())
        (run_dir / CONFIG).write_bytes(settings.to_yaml(config).encode())
        about = {
            "trial": self.trial_id,
            "generation": generation,
            "values": self._values,
            "origin": origin,
            "state": "running",
            "reason": "",
            "seconds": 0.0,
        }
        (run_dir / TRIAL).write_bytes(json.dumps(about, indent=1).encode())
        return run_dir

    # The training.

    def _begin(self) -> None:
        run_dir = self._directory()
        config = self._config = replace(self._config, run={"name": run_dir.name})
        per_epoch = self._plan.images // config.train.global_batch_size
        self._end = config.train.epochs * per_epoch
        self._ln_k, self._grace = uniform_loss(config.model), grace_steps(config.optim, per_epoch)
        self._waiting = measurements.read(run_dir)
        self._before = read_trial(run_dir)["seconds"]
        self._began = time.monotonic()
        # On this actor's node, the head, which is the one that the sweep cannot lose.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox = Monitor.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]
        self._set_state("running")
        if not (run_dir / SUMMARY).exists():
            ray.get(self._groups.begin.remote(self.trial_id))
            payload = {"monitor": self._mailbox, "groups": self._groups, "trial": self.trial_id}
            self._thread = threading.Thread(target=self._fit, args=(config, run_dir, payload), name="fit", daemon=True)
        else:
            self._thread = threading.Thread(target=lambda: None)
        self._thread.start()

    def _fit(self, config: Config, run_dir: Place, payload: dict[str, Any]) -> None:
        prefer_fast_recovery()
        try:
            supervise(lambda: make_trainer(_work, config, run_dir, payload), self._mailbox, run_dir, log.warning)
        except BaseException as error:
            self._failure.append(error)

    def _next(self) -> dict[str, Any]:
        """The next measurement, waiting for it."""
        assert self._thread is not None
        told = max((row["step"] for row in [*self._seen, *self._waiting]), default=0)
        while not self._waiting:
            over = not self._thread.is_alive()
            for message in ray.get(self._mailbox.read.remote()):
                if isinstance(message, Measured) and message.row["step"] > told:
                    self._waiting.append(message.row)
            if over and not self._waiting:
                raise TrialFailed(self._why())
            if not self._waiting:
                self._thread.join(timeout=_POLL_SECONDS)
        return self._waiting.pop(0)

    def _why(self) -> str:
        if reason := ray.get(self._mailbox.given_up.remote()):
            return str(reason)
        if self._failure:
            return last_line(self._failure[0])
        return "the training ended before its last measurement"

    def _join(self) -> None:
        """Waits until the finished training has written its summary and given its workers back."""
        assert self._thread is not None
        self._thread.join()
        if self._failure:
            self._give_up("failed", TrialFailed(self._why()))

    def _give_up(self, state: str, error: TrialFailed) -> NoReturn:
        self.cleanup()
        self._set_state(state, str(error))
        raise error

    def _set_state(self, state: str, reason: str = "") -> None:
        seconds = self._before + time.monotonic() - self._began
        update_trial(self._directory(), state=state, reason=reason, seconds=seconds)

    def _report(self, row: dict[str, Any], done: bool) -> dict[str, Any]:
        self._set_state("finished" if done else "running")
        return {**report_of(row, self._config), "run_dir": self._directory().uri, "whole": done, "done": done}


def report_of(row: dict[str, Any], config: Config) -> dict[str, Any]:
    """A measurement as Tune is told: `epochs`, the costs `images` and `pixels`, and every figure that there is."""
    figures = {name: value for name, value in row.items() if value is not None and name != "samples_seen"}
    return {**figures, "images": row["samples_seen"], "pixels": row["samples_seen"] * config.crops.pixels}
