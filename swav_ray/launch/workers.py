"""The workers of a training, whatever they train: started on Ray, supervised, and shown, until they end.

A pretraining and an evaluation that trains are the same to this file: a run directory, a function for every worker,
and a number of workers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from swav_ray.config import ConfigError, ScalingConfig
from swav_ray.launch.crop_task import TASK_CPUS
from swav_ray.launch.elastic import Trainer, prefer_fast_recovery
from swav_ray.launch.monitor import Monitor
from swav_ray.launch.ray_internals.environment import METADATA_INLINE
from swav_ray.launch.ray_internals.local_ray import LocalRay
from swav_ray.launch.signals import StopSignals
from swav_ray.launch.supervise import supervise
from swav_ray.one_line import last_line
from swav_ray.report.terminal import Terminal
from swav_ray.run import checkpoint_files
from swav_ray.run.layout import RAY
from swav_ray.run.messages import Message
from swav_ray.storage.place import Place

_LEAVE_SECONDS = 30.0  # that Ray Train may take to leave while it has no workers


class RunFailed(RuntimeError):
    """The run cannot continue; the message is one line."""


class TakenOver(RunFailed):
    """Another process runs it now: its directory is not ours."""


def uses_gpu(scaling: ScalingConfig) -> bool:
    """Whether workers train on GPUs of the cluster at hand."""
    needed = scaling.num_workers[0] * scaling.gpus_per_worker
    return scaling.device == "gpu" or (scaling.device == "auto" and ray.cluster_resources().get("GPU", 0) >= needed)


def check_room(scaling: ScalingConfig, terminal: Terminal, *, grows: bool) -> None:
    """Sees that the least number of workers fits beside a CPU for crops, without which none of them would move.

    Raises ConfigError if it does not and never will; warns if the cluster may yet grow.
    """
    cluster = ray.cluster_resources()
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


def run_workers(
    make: Callable[[Any], Trainer],
    run_dir: Place,
    terminal: Terminal,
    stop: StopSignals,
    taken: threading.Event,
    local_ray: LocalRay | None,
    *,
    epochs: int,
    ln_k: float = 0.0,
    more: str = "--run.ray_logs true",
    also: Callable[[Message], None] = lambda _: None,
) -> None:
    """Starts the workers of a run and shows their messages until they end.

    Args:
        make: makes a trainer, see `make_trainer`, for this Monitor.
        taken: set when another process has taken the run directory.
        local_ray: the Ray that was started for this run, if any.
        epochs: of the run. ln_k: the loss that teaches nothing; 0: it has another loss. For its progress.
        more: the option that shows more of what Ray says. also: is given each message as well.

    Raises:
        RunFailed: the run cannot continue.
    """
    prefer_fast_recovery()
    # On the driver's node, which is the one that the run cannot lose.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    run = run_dir.name if ln_k else ""  # evaluations that train have no Ray metrics
    monitor = Monitor.options(scheduling_strategy=here).remote(more, run, ln_k)  # type: ignore[attr-defined]
    failure: list[BaseException] = []

    def fit() -> None:
        def warn(text: str) -> None:
            terminal.line(f"warning: {text}")

        try:
            supervise(lambda: make(monitor), monitor, run_dir, warn)
        except BaseException as error:
            failure.append(error)

    # fit() blocks and handles SIGINT by aborting, without a checkpoint; in a thread it leaves signals to us.
    thread = threading.Thread(target=fit, name="fit", daemon=True)

    def saved() -> int | None:
        return next(reversed(checkpoint_files.steps(run_dir)), None)

    with terminal.live(epochs, name=run_dir.name, ln_k=ln_k, saved=saved):
        thread.start()
        if _show(thread, monitor, terminal, stop, taken, local_ray, run_dir, also):
            return
    if reason := ray.get(monitor.given_up.remote()):
        raise RunFailed(reason)
    if failure:
        raise RunFailed(f"the run failed: {last_line(failure[0])}; {more} shows more") from failure[0]


def _show(
    thread: threading.Thread,
    monitor: Any,
    terminal: Terminal,
    stop: StopSignals,
    taken: threading.Event,
    local_ray: LocalRay | None,
    run_dir: Place,
    also: Callable[[Message], None],
) -> bool:
    """Shows messages and passes requests on while the thread lives; True if it was stopped without any worker."""
    requested = False
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
            also(message)
        if taken.is_set():
            raise TakenOver(f"another process has taken over run {run_dir.name}; this one leaves it alone")
        if requested and ray.get(monitor.waiting.remote()) and not ray.get(monitor.given_up.remote()):
            ray.get(monitor.give_up.remote("stopped"))
            terminal.line("stopped while there were no workers; the same command resumes from the last checkpoint")
            thread.join(timeout=_LEAVE_SECONDS)  # a controller left behind would take its workers after all
            return True
    return False


def make_trainer(
    work: Callable[[dict[str, Any]], None], scaling: ScalingConfig, run_dir: Place, payload: dict[str, Any]
) -> Trainer:
    """Ray Train's trainer of a run: `work` on every worker, given run_dir and `payload`, its `monitor` in it."""
    gpu = uses_gpu(scaling)
    least, most = scaling.num_workers[0], scaling.num_workers[-1]
    return Trainer(
        owner=run_dir.uri,
        monitor=payload["monitor"],
        train_loop_per_worker=work,
        train_loop_config={"run_dir": run_dir, **payload},
        # mypy sees the classes of Ray Train's first version under these names.
        scaling_config=ray.train.ScalingConfig(  # type: ignore[call-arg]
            num_workers=(least, most) if least < most else least,  # type: ignore[arg-type]
            use_gpu=gpu,
            resources_per_worker={"CPU": scaling.cpus_per_worker, **({"GPU": scaling.gpus_per_worker} if gpu else {})},
            elastic_resize_monitor_interval_s=scaling.check_seconds,
        ),
        run_config=ray.train.RunConfig(  # type: ignore[call-arg]
            name=RAY,
            storage_path=run_dir.uri,
            failure_config=ray.train.FailureConfig(max_failures=-1),
            worker_runtime_env={"env_vars": METADATA_INLINE},
        ),
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
    )
