"""Runs a config on Ray: prepares the data and the run directory, starts the workers, shows what they report.

One path for a new run, one that was stopped or killed, and one that is finished.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from typing import Any

import ray
import ray.util
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from swav_ray import settings
from swav_ray.config import Config, ConfigError, check_resume
from swav_ray.data import manifest as manifests
from swav_ray.data.holdout import split
from swav_ray.data.manifest import Manifest
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.launch.connect import connect
from swav_ray.launch.crop_task import TASK_CPUS
from swav_ray.launch.dataset import FIRST_CONTACT, manifest_of
from swav_ray.launch.elastic import Trainer, prefer_fast_recovery
from swav_ray.launch.monitor import Monitor
from swav_ray.launch.ray_internals.environment import METADATA_INLINE
from swav_ray.launch.ray_internals.local_ray import LocalRay
from swav_ray.launch.ray_internals.tested import untested_ray
from swav_ray.launch.signals import Interrupted, StopSignals
from swav_ray.launch.supervise import supervise
from swav_ray.launch.worker import run
from swav_ray.one_line import last_line
from swav_ray.report.terminal import Terminal
from swav_ray.run.layout import CONFIG, MANIFEST, RAY, SUMMARY
from swav_ray.run.lease import Lease
from swav_ray.storage.place import Place, place

_LEAVE_SECONDS = 30.0  # that Ray Train may take to leave while it has no workers


class RunFailed(RuntimeError):
    """The run cannot continue; the message is one line."""


def train(config: Config) -> dict[str, Any] | None:
    """Trains until done or stopped, resuming a run of this name that is there.

    Returns:
        The summary of the finished run, or None if it was stopped before its end.

    Raises:
        ConfigError, PlaceError: a setting or a place is wrong. RunFailed: the run cannot continue.
        Interrupted: a second signal ended it.
    """
    terminal = Terminal(config.run.progress_seconds)
    with terminal.attended():
        return _train(config, terminal)


def _train(config: Config, terminal: Terminal) -> dict[str, Any] | None:
    if not config.run.name:
        raise ConfigError("run.name", "", "names no run; its directory gets that name, as a recipe's does")
    run_dir = place(config.run.storage) / config.run.name
    terminal.waiting_for(f"waiting for {run_dir}: {{}}")
    run_dir.exists(patience=FIRST_CONTACT)
    _check_same_run(config, run_dir)
    if (run_dir / SUMMARY).exists():
        terminal.line(f"run {config.run.name} is finished; --run.name starts another")
        return _summary(run_dir, terminal)
    with StopSignals() as stop:
        try:
            _run(config, run_dir, terminal, stop)
        except Interrupted as signal:
            if signal.again:
                terminal.line(f"{signal}: ended at once; the same command resumes from the last checkpoint")
                raise
            terminal.line(f"{signal}: stopped before training started; the same command starts it")
            return None
    if not (run_dir / SUMMARY).exists():
        return None
    return _summary(run_dir, terminal)


def _run(config: Config, run_dir: Place, terminal: Terminal, stop: StopSignals) -> None:
    """Takes the run directory, prepares it, starts or finds Ray, and trains. A refused run leaves no directory."""
    taken = threading.Event()
    lease = Lease(run_dir, config.run.name, terminal.line, lost=taken.set)
    lease.acquire()
    try:
        for warning in [*untested_ray(), *config.warnings()]:
            terminal.line(f"warning: {warning}")
        terminal.waiting_for("listing the images: {}")
        manifest = _check_data(config, run_dir, terminal)
        terminal.waiting_for("starting Ray: {}" if "RAY_ADDRESS" not in os.environ else "connecting to Ray: {}")
        local_ray = connect(config.run.ray_logs)
        least = config.scaling.num_workers[0]
        terminal.waiting_for(f"starting {least} worker{'s' if least > 1 else ''}: {{}}")
        with stop.noted():
            try:
                _check_room(config, terminal, grows=local_ray is None)
                _begin(config, run_dir, manifest, terminal)
                _fit(config, run_dir, terminal, stop, taken, local_ray)
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
    manifest = manifest_of(config, run_dir, terminal, begun=(run_dir / CONFIG).exists())
    train_ids, held_out = split(manifest, config.data)
    plan = SamplePlan(train_ids, config.run.seed, config.train.global_batch_size)
    terminal.line(
        f"{manifest.root}: {len(train_ids):,} images to train on, {len(held_out):,} held out for kNN; "
        f"{plan.steps_per_epoch} steps an epoch, {plan.dropped_per_epoch} images of each epoch's tail left out"
    )
    return manifest


def _begin(config: Config, run_dir: Place, manifest: Manifest, terminal: Terminal) -> None:
    """Writes the run's manifest and its config, with which it has begun."""
    manifests.save(manifest, run_dir / MANIFEST)
    (run_dir / CONFIG).write_bytes(settings.to_yaml(config).encode())
    terminal.line(f"run directory: {run_dir}")


def uses_gpu(config: Config) -> bool:
    """Whether a run trains on GPUs of the cluster at hand."""
    scaling = config.scaling
    needed = scaling.num_workers[0] * scaling.gpus_per_worker
    return scaling.device == "gpu" or (scaling.device == "auto" and ray.cluster_resources().get("GPU", 0) >= needed)


def _check_room(config: Config, terminal: Terminal, *, grows: bool) -> None:
    """Sees that the least number of workers fits beside a CPU for crops, without which none of them would move.

    Raises ConfigError if it does not and never will; warns if the cluster may yet grow.
    """
    scaling, cluster = config.scaling, ray.cluster_resources()
    least = scaling.num_workers[0]
    needed = {"CPU": least * scaling.cpus_per_worker + TASK_CPUS}
    if scaling.device == "gpu":
        needed["GPU"] = least * scaling.gpus_per_worker
    for kind, amount in needed.items():
        there = cluster.get(kind, 0.0)
        if there >= amount:
            continue
        what = f"{least} worker{'s' if least > 1 else ''} need {amount:g} {kind}s, those for crops included"
        if not grows:
            raise ConfigError("scaling.num_workers", least, f"{what}, and this machine has {there:g}")
        terminal.line(f"warning: {what}, and the cluster has {there:g} now: waiting for it to grow")


def _fit(
    config: Config,
    run_dir: Place,
    terminal: Terminal,
    stop: StopSignals,
    taken: threading.Event,
    local_ray: LocalRay | None,
) -> None:
    """Starts the workers and shows their messages until they end; raises RunFailed."""
    prefer_fast_recovery()
    # On the driver's node, which is the one that the run cannot lose.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    monitor = Monitor.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]
    failure: list[BaseException] = []

    def fit() -> None:
        def warn(text: str) -> None:
            terminal.line(f"warning: {text}")

        try:
            supervise(lambda: make_trainer(run, config, run_dir, {"monitor": monitor}), monitor, run_dir, warn)
        except BaseException as error:
            failure.append(error)

    # fit() blocks and handles SIGINT by aborting, without a checkpoint; in a thread it leaves signals to us.
    thread = threading.Thread(target=fit, name="fit", daemon=True)
    requested = False
    with terminal.live(config):
        thread.start()
        while thread.is_alive():
            thread.join(timeout=0.5)
            if local_ray is not None and (ended := local_ray.ended()):
                raise RunFailed(f"Ray's {' and '.join(ended)} ended; the same command resumes from the last checkpoint")
            if stop.asked and not requested:
                requested = True
                ray.get(monitor.request_stop.remote())
                terminal.line(f"{stop.asked.name}: stopping after this step, with a checkpoint; again: at once")
            for message in ray.get(monitor.read.remote()):
                terminal.show(message)
            if taken.is_set():
                raise RunFailed(f"another process has taken over run {config.run.name}; this one leaves it alone")
            if requested and ray.get(monitor.waiting.remote()) and not ray.get(monitor.given_up.remote()):
                ray.get(monitor.give_up.remote("stopped"))
                terminal.line("stopped while there were no workers; the same command resumes from the last checkpoint")
                thread.join(timeout=_LEAVE_SECONDS)  # a controller left behind would take its workers after all
                return
    if reason := ray.get(monitor.given_up.remote()):
        raise RunFailed(reason)
    if failure:
        raise RunFailed(f"the run failed: {last_line(failure[0])}; --run.ray_logs true shows more") from failure[0]


def make_trainer(
    work: Callable[[dict[str, Any]], None], config: Config, run_dir: Place, payload: dict[str, Any]
) -> Trainer:
    """Ray Train's trainer of a run: `work` on every worker, given config, run_dir and `payload`, its monitor in it."""
    scaling, gpu = config.scaling, uses_gpu(config)
    least, most = scaling.num_workers[0], scaling.num_workers[-1]
    return Trainer(
        owner=run_dir.uri,
        monitor=payload["monitor"],
        train_loop_per_worker=work,
        train_loop_config={"config": config, "run_dir": run_dir, **payload},
        # mypy sees the classes of Ray Train's first version under these names.
        scaling_config=ScalingConfig(  # type: ignore[call-arg]
            num_workers=(least, most) if least < most else least,  # type: ignore[arg-type]
            use_gpu=gpu,
            resources_per_worker={"CPU": scaling.cpus_per_worker, **({"GPU": scaling.gpus_per_worker} if gpu else {})},
            elastic_resize_monitor_interval_s=scaling.check_seconds,
        ),
        run_config=RunConfig(  # type: ignore[call-arg]
            name=RAY,
            storage_path=run_dir.uri,
            failure_config=FailureConfig(max_failures=-1),
            worker_runtime_env={"env_vars": METADATA_INLINE},
        ),
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
    )


def _summary(run_dir: Place, terminal: Terminal) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((run_dir / SUMMARY).read_bytes())
    terminal.summary(summary, run_dir.uri)
    return summary
