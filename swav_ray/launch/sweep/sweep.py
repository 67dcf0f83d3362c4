"""A sweep: many trainings of one recipe, each with other values, on one cluster, compared by an objective.

`sweep` is the whole of it; `tune_spaces/` holds search spaces that call it. Everything lies in STORAGE/sweeps/NAME:
trials/ (run directories like any other), sweep.yaml, and at the end sweep.html and best.yaml.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
import yaml
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from swav_ray import settings
from swav_ray.config import Config, ConfigError, replace
from swav_ray.data import manifest as manifests
from swav_ray.launch.connect import connect
from swav_ray.launch.ray_internals.head_node import HEAD_NODE
from swav_ray.launch.ray_internals.tested import untested_ray
from swav_ray.launch.sweep.choice import concurrency, head_share, share_cpus
from swav_ray.launch.sweep.design import Design, make_design
from swav_ray.launch.sweep.groups import Groups, drain
from swav_ray.launch.sweep.progress import Progress, announce
from swav_ray.launch.sweep.resume import begin_or_resume
from swav_ray.launch.sweep.space import Space, Translate, config_of
from swav_ray.launch.sweep.trial import Trial, TrialInputs
from swav_ray.launch.sweep.tuner import make_tuner, quiet_tune
from swav_ray.recipes import by_name
from swav_ray.report.sweep.page import write_report
from swav_ray.report.sweep.record import read_sweep
from swav_ray.report.terminal import Terminal
from swav_ray.report.trackers.process import Home
from swav_ray.run.layout import BEST, MANIFEST, SWEEP, SWEEP_PAGE, SWEEPS, TRIALS
from swav_ray.run.lease import Lease
from swav_ray.storage.place import Place, place
from swav_ray.weights.open import absolute

_FIRST_CONTACT = 10.0
_KILLED_SECONDS = 5.0  # for trials to release what they hold after Tune was interrupted and has killed them


def sweep(
    recipe: str | Config,
    space: Space,
    *,
    name: str = "",
    objective: str | Sequence[str] = "auto",
    searcher: str = "random",
    scheduler: str = "asha",
    num_samples: int = 12,
    grace_epochs: int = 0,
    concurrent: int = 0,
    seed: int = 0,
    translate: Translate | None = None,
) -> tune.ResultGrid:
    """Trains `recipe` with values drawn from `space` and finds the best; resumes a sweep of this name.

    Trials are measured and saved every epoch, or forty times in a longer run, whatever the recipe says. If the space
    holds the recipe's own values, they are the first trial of any search but a grid, for the others to beat.

    Args:
        recipe: a recipe's name, or a config.
        space: settings by dotted name to Ray Tune's domains (`tune.choice`, `tune.loguniform`, `tune.grid_search`).
        name: of the sweep and its directory; empty: the recipe's.
        objective: "knn", "rankme", "agreement", "information", or "auto": kNN if there are labels. A list adds others
            or a cost, "images" or "pixels", for searches of several objectives.
        searcher: "random", "grid" or "optuna" (TPE).
        scheduler: "asha", "median", "pbt" or "none".
        num_samples: trials; a grid has as many as it has mixes.
        grace_epochs: epochs before which the scheduler stops no trial, and between mutations of pbt; 0: an eighth of
            the run, at least three. A collapsed trial ends by itself, after its warm-up and its prototypes' freeze.
        concurrent: trials at a time; 0: as many as the cluster holds, and one if none fits yet on a cluster of
            RAY_ADDRESS, which may grow.
        seed: of the values drawn. Trials train with the recipe's `run.seed`.
        translate: turns a trial's values and the recipe into settings, if the values are no settings themselves.

    Returns:
        Ray's ResultGrid: a Result for each trial, failed and collapsed ones with their error.

    Raises:
        ConfigError, UnknownSetting, PlaceError: something is wrong, and no trial has started.
    """
    recipe = recipe if isinstance(recipe, Config) else by_name(recipe)
    terminal = Terminal(recipe.run.progress_seconds)
    name = name or recipe.run.name
    if not name:
        raise ConfigError("name", "", "names no sweep; its directory gets that name, as a recipe's does")
    sweep_dir = place(recipe.run.storage) / SWEEPS / name
    with terminal.attended():
        terminal.waiting_for("listing the images: {}")
        sweep_dir.exists(patience=_FIRST_CONTACT)
        design = make_design(
            recipe,
            space,
            sweep_dir,
            terminal,
            objective=objective,
            searcher=searcher,
            scheduler=scheduler,
            num_samples=num_samples,
            grace_epochs=grace_epochs,
            seed=seed,
            translate=translate,
        )
        return _hold_and_run(design, name, concurrent, terminal)


def _hold_and_run(design: Design, name: str, concurrent: int, terminal: Terminal) -> tune.ResultGrid:
    """Takes the sweep directory, finds or starts Ray, and runs the sweep."""
    logs = design.recipe.run.ray_logs
    lease = Lease(design.sweep_dir, name, terminal.line, lost=_interrupt, setting="name")
    lease.acquire()
    try:
        for warning in untested_ray():
            terminal.line(f"warning: {warning}")
        terminal.waiting_for("starting or finding Ray: {}")
        own_cluster = connect(logs) is not None
        try:
            return _run(design, concurrent, terminal, grows=not own_cluster)
        finally:
            if own_cluster:
                terminal.waiting_for("ending Ray: {}")
                ray.shutdown()
    finally:
        lease.release()


def _run(design: Design, concurrent: int, terminal: Terminal, *, grows: bool) -> tune.ResultGrid:
    """Runs a sweep on the cluster that this process is connected to."""
    sweep_dir, logs = design.sweep_dir, design.base.run.ray_logs
    at_once = concurrency(design.base, concurrent, grows=grows, warn=terminal.line)
    base = share_cpus(design.base, at_once)
    with quiet_tune(logs):
        # Nothing is written before this: a refused sweep must not decide what the next one of its name is.
        resumed = begin_or_resume(design.choice, base, sweep_dir, design.own)
    manifests.save(design.manifest, sweep_dir / MANIFEST)
    announce(terminal, base, design.choice, design.points, sweep_dir, at_once, resumed)
    trials, groups = sweep_dir / TRIALS, f"sweep {sweep_dir.uri}"
    # On the driver's node, without which the sweep ends anyway.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    holder = Groups.options(name=groups, scheduling_strategy=here).remote()  # type: ignore[attr-defined]
    inputs = TrialInputs(
        # A trial reads the weights in a process of its own, perhaps from another folder.
        base=replace(base, run={"storage": trials.uri}, train={"init_from": absolute(base.train.init_from)}),
        translate=design.translate,
        manifest=sweep_dir / MANIFEST,
        images=design.images,
        groups=groups,
        home=Home.here(),
    )
    began = time.monotonic()
    terminal.waiting_for("")  # from here on Progress says it
    with quiet_tune(logs), _sigterm_as_sigint():
        progress = Progress(groups, trials.uri, design.choice.objective[0])
        results = make_tuner(design, _trainable(inputs, at_once), progress, resumed=resumed).fit()
    terminal.waiting_for("ending the trials: {}")
    drain(holder, _KILLED_SECONDS)
    _finish(sweep_dir, design.recipe, design.translate, time.monotonic() - began, terminal)
    return results


def _trainable(inputs: TrialInputs, at_once: int) -> Any:
    # No CPU: the training's workers and crops need them. A part of the head node's own resource bounds how many trials
    # run at once, for any searcher and scheduler, also for trials that take turns.
    resources = tune.PlacementGroupFactory([{HEAD_NODE: head_share(at_once)}])
    return tune.with_resources(tune.with_parameters(Trial, inputs=inputs), resources)


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def _sigterm_as_sigint() -> Iterator[None]:
    """While entered SIGTERM does what SIGINT does: Tune writes its snapshot and stops."""
    try:
        before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _finish(sweep_dir: Place, recipe: Config, translate: Translate | None, seconds: float, terminal: Terminal) -> None:
    """Writes what a sweep leaves, and prints which trial is best."""
    file = sweep_dir / SWEEP
    document = yaml.safe_load(file.read_bytes())
    document["seconds"] = document.get("seconds", 0.0) + seconds
    file.write_bytes(yaml.safe_dump(document, sort_keys=False).encode())
    found = read_sweep(sweep_dir)
    if (best := found.best) is not None:
        config = replace(config_of(recipe, best.values, translate), run={"name": f"{sweep_dir.name}_best"})
        note = f"# {found.caveat}\n" if found.caveat else ""
        (sweep_dir / BEST).write_bytes(f"{note}{settings.to_yaml(config)}".encode())
    write_report(found, sweep_dir)
    for line in found.summary_lines():
        terminal.line(line)
    terminal.line(f"the sweep lies in {sweep_dir}: {SWEEP_PAGE}" + (f", {BEST}" if best is not None else ""))
