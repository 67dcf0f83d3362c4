"""A trial of a sweep: an actor that starts a training like any other and reports its measurements to Tune.

The training does not wait while Tune decides. All that a trial knows lies in its run directory. So a trial that starts
again, after a pause or in a resumed sweep, reports what was measured before and resumes from the newest checkpoint.
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
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from swav_ray.config import Config, ScalingConfig, replace
from swav_ray.health.measured import collapsed
from swav_ray.health.settled import grace_steps, uniform_loss
from swav_ray.launch.elastic import prefer_fast_recovery
from swav_ray.launch.monitor import Monitor
from swav_ray.launch.supervise import supervise
from swav_ray.launch.sweep.groups import note_own_group
from swav_ray.launch.sweep.space import Translate, Values, config_of
from swav_ray.launch.sweep.trial_directories import (
    CopiedCheckpoint,
    copy_newest,
    make_directory,
    newest_generation,
    read_trial,
    trial_directory,
    update_trial,
)
from swav_ray.launch.worker import run
from swav_ray.launch.workers import make_trainer
from swav_ray.one_line import last_line
from swav_ray.report.trackers.process import Home
from swav_ray.report.trackers.trackers import Trackers
from swav_ray.run import measurements
from swav_ray.run.layout import SUMMARY
from swav_ray.run.messages import Measured
from swav_ray.storage.place import Place, place

_POLL_SECONDS = 0.2
_STOP_SECONDS = 60.0  # for a training to stop, with a checkpoint; then its workers are killed

log = logging.getLogger(__name__)


class TrialFailed(RuntimeError):
    """The trial has no result; the message is one line."""


class TrialCollapsed(TrialFailed):
    """The trial has stopped learning; the message says what shows it."""


@dataclass(frozen=True)
class TrialInputs:
    """What every trial of a sweep is given beside its values.

    Attributes:
        base: the recipe with the sweep's settings; `run.storage` is where the trials' run directories lie.
        translate: turns values into settings, if they are not settings themselves.
        manifest: the file with the list of samples.
        images: number of images that are trained on.
        groups: name of the sweep's `Groups` actor.
        home: where the services of `run.trackers` keep their files: the folder of the sweep's command.
    """

    base: Config
    translate: Translate | None
    manifest: Place
    images: int
    groups: str
    home: Home

    def config(self, values: Values) -> Config:
        """The config that a trial with these values trains."""
        return config_of(self.base, values, self.translate)


def _work(payload: dict[str, Any]) -> None:
    """The training function of a trial's workers: notes which placement group they hold, then trains."""
    note_own_group(payload["groups"], payload["trial"])
    run(payload)


class Trial(tune.Trainable):
    """One training of a sweep. Each of Tune's steps is one measurement; TrialFailed if there will be no other one.

    Tune's snapshots name this class: a sweep resumes only if its name stays.
    """

    def setup(self, values: Values, inputs: TrialInputs) -> None:  # type: ignore[override]
        self._values, self._inputs = values, inputs
        self._groups = ray.get_actor(inputs.groups)
        # Its workers measure: a scheduler compares trials at the same step, and a checkpoint that another trial copies
        # must not come before its figures.
        # And the sweep itself ends a trial that has collapsed.
        self._config = replace(inputs.config(values), eval={"beside_training": "never"}, health={"on_collapse": "warn"})
        self._trials = place(inputs.base.run.storage)
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
        """Hands Tune the newest checkpoint of the training, for another trial or another start of this one."""
        run_dir = self._directory()
        due = self._seen[-1]["step"] if self._seen else 0
        deadline = time.monotonic() + _STOP_SECONDS
        # The training writes it in the background: the checkpoint of the last measurement may take a moment.
        while copy_newest(run_dir, due, Path(checkpoint_dir)) is None:
            if time.monotonic() > deadline:
                raise TrialFailed(f"{run_dir} has no checkpoint of step {due} after {_STOP_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)

    def load_checkpoint(self, checkpoint_dir: str) -> None:  # type: ignore[override]
        """Resumes from a checkpoint: in the same run directory if it is this trial's own, else in a new generation."""
        start = CopiedCheckpoint.read(Path(checkpoint_dir))
        newest = newest_generation(self._trials, self.trial_id)
        if newest is None:
            self._run_dir = self._make_directory(0, start)
            return
        at = trial_directory(self._trials, self.trial_id, newest)
        about = read_trial(at)
        own = start.origin["run_dir"] == at.uri or about["origin"] == start.origin
        if own and about["values"] == json.loads(json.dumps(self._values)):
            self._run_dir = at
            return
        self._run_dir = self._make_directory(newest + 1, start)
        update_trial(at, state="replaced")

    def cleanup(self) -> None:
        """Stops the training with a checkpoint and releases its workers."""
        if self._thread is not None and self._thread.is_alive():
            ray.get(self._mailbox.request_stop.remote())
            self._thread.join(timeout=_STOP_SECONDS)
        if self._thread is not None:
            free: Any = self._groups.release if self._thread.is_alive() else self._groups.end
            ray.get(free.remote(self.trial_id))
            self._trackers.close()

    # The run directory.

    def _directory(self) -> Place:
        if self._run_dir is None:
            newest = newest_generation(self._trials, self.trial_id)
            if newest is None:
                self._run_dir = self._make_directory(0)
            else:
                self._run_dir = trial_directory(self._trials, self.trial_id, newest)
        return self._run_dir

    def _make_directory(self, generation: int, start: CopiedCheckpoint | None = None) -> Place:
        run_dir = trial_directory(self._trials, self.trial_id, generation)
        make_directory(
            run_dir,
            self._config,
            self._inputs.manifest,
            trial=self.trial_id,
            generation=generation,
            values=self._values,
            start=start,
        )
        return run_dir

    # The training.

    def _begin(self) -> None:
        run_dir = self._directory()
        config = self._config = replace(self._config, run={"name": run_dir.name})
        per_epoch = self._inputs.images // config.train.global_batch_size
        self._end = config.train.epochs * per_epoch
        self._ln_k, self._grace = uniform_loss(config.model), grace_steps(config.optim, per_epoch)
        self._waiting = measurements.read(run_dir)
        self._before = read_trial(run_dir)["seconds"]
        self._began = time.monotonic()
        # On this actor's node: the head, without which the sweep ends anyway.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox = Monitor.options(scheduling_strategy=here).remote(run=run_dir.name, ln_k=self._ln_k)  # type: ignore[attr-defined]
        self._trackers = Trackers(config, run_dir, log.warning, self._inputs.home)
        self._set_state("running")
        if not (run_dir / SUMMARY).exists():
            ray.get(self._groups.begin.remote(self.trial_id))
            payload = {"config": config, "monitor": self._mailbox, "groups": self._groups, "trial": self.trial_id}
            self._thread = threading.Thread(
                target=self._fit, args=(config.scaling, run_dir, payload), name="fit", daemon=True
            )
        else:
            self._thread = threading.Thread(target=lambda: None)
        self._thread.start()

    def _fit(self, scaling: ScalingConfig, run_dir: Place, payload: dict[str, Any]) -> None:
        prefer_fast_recovery()
        try:
            supervise(lambda: make_trainer(_work, scaling, run_dir, payload), self._mailbox, run_dir, log.warning)
        except BaseException as error:
            self._failure.append(error)

    def _next(self) -> dict[str, Any]:
        """The next measurement, waiting for it."""
        assert self._thread is not None
        last = max((row["step"] for row in [*self._seen, *self._waiting]), default=0)
        while not self._waiting:
            over = not self._thread.is_alive()
            for message in ray.get(self._mailbox.read.remote()):
                self._trackers.take(message)
                if isinstance(message, Measured) and message.row["step"] > last:
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
        """Waits until the finished training has written its summary and released its workers."""
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
    """A measurement as it is reported to Tune: `epochs`, the costs `images` and `pixels`, and every other figure."""
    figures = {name: value for name, value in row.items() if value is not None and name != "samples_seen"}
    return {**figures, "images": row["samples_seen"], "pixels": row["samples_seen"] * config.crops.pixels}
