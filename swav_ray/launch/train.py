"""Runs a config on Ray: prepares the data and the run directory, starts the workers, shows what they report.

One path for a new run, one that was stopped or killed, and one that is finished. Every end of a run writes its page.
"""

from __future__ import annotations

import json
import os
import threading
import time
from math import log
from statistics import fmean
from typing import Any

import ray
import ray.util

from swav_ray import settings
from swav_ray.config import Config, ConfigError, check_resume
from swav_ray.data import manifest as manifests
from swav_ray.data.formats.names import TEST
from swav_ray.data.holdout import check_new, split_ids, twins, why_none
from swav_ray.data.manifest import Manifest
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.health.beforehand import concerns
from swav_ray.health.image_side import median_side
from swav_ray.launch.connect import connect
from swav_ray.launch.dataset import FIRST_CONTACT, manifest_of, with_usable_cache
from swav_ray.launch.elastic import Trainer
from swav_ray.launch.ray_internals.local_ray import LocalRay
from swav_ray.launch.ray_internals.temp_dir import check_temp_dir
from swav_ray.launch.ray_internals.tested import untested_ray
from swav_ray.launch.signals import Interrupted, StopSignals
from swav_ray.launch.worker import run
from swav_ray.launch.workers import RunFailed, TakenOver, check_room, make_trainer, run_workers
from swav_ray.one_line import one_line
from swav_ray.report.page.write import write_page
from swav_ray.report.terminal import Terminal
from swav_ray.report.trackers.trackers import Trackers
from swav_ray.run import checkpoint_files, environment
from swav_ray.run.history import note_failure, note_launch, note_stop
from swav_ray.run.layout import CONFIG, MANIFEST, SUMMARY
from swav_ray.run.lease import Lease
from swav_ray.storage.place import Place, place
from swav_ray.training.learner import build_model
from swav_ray.weights.initial import Initial, initial


def train(config: Config) -> dict[str, Any] | None:
    """Trains until done or stopped, resuming a run of this name that is there.

    Returns:
        The summary of the finished run, or None if it was stopped before its end.

    Raises:
        ConfigError, PlaceError: a setting or a place is wrong. RunFailed: the run cannot continue.
        Interrupted: a second signal ended it.
    """
    began = time.time()
    terminal = Terminal(config.run.progress_seconds)
    with terminal.attended():
        return _train(config, terminal, began)


def _train(config: Config, terminal: Terminal, began: float) -> dict[str, Any] | None:
    if not config.run.name:
        raise ConfigError("run.name", "", "names no run; its directory gets that name, as a recipe's does")
    if "RAY_ADDRESS" not in os.environ and not ray.is_initialized():
        check_temp_dir()  # before anything is written
    run_dir = place(config.run.storage) / config.run.name
    terminal.waiting_for(f"waiting for {run_dir}: {{}}")
    run_dir.exists(patience=FIRST_CONTACT)
    _check_same_run(config, run_dir)
    if (run_dir / SUMMARY).exists():
        terminal.line(f"run {config.run.name} is finished; --run.name starts another")
        return _summary(run_dir, terminal)
    trackers = Trackers(config, run_dir, terminal.line)
    with StopSignals() as stop:
        try:
            _run(config, run_dir, terminal, stop, began, trackers)
        except Interrupted as signal:
            trackers.abandon()
            if signal.again:
                terminal.line(f"{signal}: ended at once; the same command resumes from the last checkpoint")
                raise
            terminal.line(f"{signal}: stopped before training started; the same command starts it")
            return None
        except TakenOver:
            trackers.abandon()  # its run there goes on
            raise
        except RunFailed:
            _write_page(run_dir, terminal)
            _close(trackers, config, terminal)
            raise
        _write_page(run_dir, terminal)
        _close(trackers, config, terminal)
    return _summary(run_dir, terminal) if (run_dir / SUMMARY).exists() else None


def _run(
    config: Config, run_dir: Place, terminal: Terminal, stop: StopSignals, began: float, trackers: Trackers
) -> None:
    """Takes the run directory, prepares it, starts or finds Ray, and trains. A refused run leaves no directory.

    Args:
        began: Unix seconds at which the command did.
    """
    taken = threading.Event()
    lease = Lease(run_dir, config.run.name, terminal.line, lost=taken.set)
    lease.acquire()
    try:
        for warning in untested_ray():
            terminal.line(f"warning: {warning}")
        terminal.waiting_for("listing the images: {}")
        manifest = _check_data(config, run_dir, terminal)
        usable = with_usable_cache(config, manifest, terminal)
        start = None
        if config.train.init_from:
            terminal.waiting_for(f"reading {config.train.init_from}: {{}}")
            start = initial(build_model(config), config, run_dir)
        terminal.waiting_for("starting Ray: {}" if "RAY_ADDRESS" not in os.environ else "connecting to Ray: {}")
        local_ray = connect(config.run.ray_logs)
        least = config.scaling.num_workers[0]
        terminal.waiting_for(f"starting {least} worker{'s' if least > 1 else ''}: {{}}")
        with stop.noted():
            try:
                stop.raise_if_asked()
                check_room(config.scaling, terminal, grows=local_ray is None)
                _begin(config, run_dir, manifest, terminal, start)
                note_launch(run_dir, began, terminal.line)
                _fit(usable, run_dir, terminal, stop, taken, local_ray, trackers)
                if not (run_dir / SUMMARY).exists():
                    newest = next(reversed(checkpoint_files.steps(run_dir)), 0)
                    note_stop(run_dir, newest, terminal.line)
            except TakenOver:
                raise
            except RunFailed as failure:
                note_failure(run_dir, str(failure), terminal.line)
                raise
            finally:
                if local_ray is not None and not local_ray.ended():  # else it would wait for what has ended
                    terminal.waiting_for("ending Ray: {}")
                    ray.shutdown()
    finally:
        with stop.noted():  # a signal now stops nothing: the run has ended, or never began
            lease.release()


def _check_same_run(config: Config, run_dir: Place) -> None:
    """Raises ConfigError when a run is there that began with other settings, naming the first that differs."""
    file = run_dir / CONFIG
    if file.exists():
        before = settings.from_yaml(file.read_bytes().decode(), config, str(file))
        check_resume(before, config, f"run {config.run.name} in {run_dir}", "--run.name")


def _check_data(config: Config, run_dir: Place, terminal: Terminal) -> Manifest:
    """The samples of the run. Raises ConfigError, PlaceError if they and the settings do not fit each other."""
    begun = (run_dir / CONFIG).exists()
    manifest = manifest_of(config, run_dir, terminal, begun=begun)
    if not begun:
        check_new(manifest, config.data)
    train_ids, held_out = split_ids(manifest, config.data)
    plan = SamplePlan.of(config, train_ids)
    terminal.line(
        f"{manifest.root}: {len(train_ids):,} images to train on, {len(held_out):,} held out for kNN; "
        f"{plan.steps_per_epoch} steps an epoch, {plan.dropped_per_epoch} images of each epoch's tail left out"
    )
    if left_out := twins(manifest, config.data):
        terminal.line(
            f"note: {left_out:,} test images are left out of kNN, since each has a byte-identical twin among the "
            "training images"
        )
    if not len(held_out):
        terminal.line(f"{'warning' if manifest.count(TEST) else 'note'}: {why_none(manifest)}")
    for concern in concerns(config, len(train_ids), side=median_side(manifest, train_ids)):
        terminal.line(f"warning: {concern.line()}")
    return manifest


def _begin(
    config: Config, run_dir: Place, manifest: Manifest, terminal: Terminal, start: Initial | None = None
) -> None:
    """Writes the run's manifest, the weights that it starts from if they are given, and its config: it has begun."""
    manifests.save(manifest, run_dir / MANIFEST)
    environment.write(run_dir, ray.cluster_resources())
    if start is not None:
        start.save(run_dir)
        for line in start.lines:
            terminal.line(line)
    (run_dir / CONFIG).write_bytes(settings.to_yaml(config).encode())
    terminal.line(f"run directory: {run_dir}")


def _fit(
    config: Config,
    run_dir: Place,
    terminal: Terminal,
    stop: StopSignals,
    taken: threading.Event,
    local_ray: LocalRay | None,
    trackers: Trackers,
) -> None:
    """Starts the workers and shows their messages until they end; raises RunFailed."""

    def make(monitor: Any) -> Trainer:
        return make_trainer(run, config.scaling, run_dir, {"config": config, "monitor": monitor})

    epochs, ln_k = config.train.epochs, fmean(map(log, config.model.prototypes))
    run_workers(make, run_dir, terminal, stop, taken, local_ray, epochs=epochs, ln_k=ln_k, also=trackers.take)


def _write_page(run_dir: Place, terminal: Terminal) -> None:
    if not (run_dir / CONFIG).exists():  # it failed before it began
        return
    terminal.waiting_for("writing the run's page: {}")
    try:
        page = write_page(run_dir)
    except KeyboardInterrupt:
        terminal.line(f"no page of the run; python -m swav_ray.report {run_dir} writes it")
        return
    except Exception as error:  # the run is done: a picture of it that fails must not fail the run
        terminal.line(f"warning: no page of the run: {one_line(error)}")
        return
    terminal.line(f"the run's page: {page}")


def _close(trackers: Trackers, config: Config, terminal: Terminal) -> None:
    """Ends the run at the services that get its figures. A signal ends the waiting for them, and nothing else."""
    if not trackers.begun:
        return
    services = ", ".join(config.run.trackers)
    terminal.waiting_for(f"waiting for {services}: {{}}")
    try:
        trackers.close()
    except KeyboardInterrupt:
        terminal.line(f"{services} may lack the last figures and the page: nobody waits for that any more")
    terminal.waiting_for("")


def _summary(run_dir: Place, terminal: Terminal) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((run_dir / SUMMARY).read_bytes())
    terminal.summary(summary, run_dir.uri)
    return summary
