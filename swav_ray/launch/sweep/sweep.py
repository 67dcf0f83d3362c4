"""A sweep: many trainings of one recipe, each with other values, on one cluster, told apart by an objective.

`sweep` is the whole of it; `tune_spaces/` holds search spaces that call it. Everything lies in
STORAGE/sweeps/NAME: trials/ (run directories like any other), sweep.yaml, and at the end sweep.html and best.yaml.
"""

from __future__ import annotations

import logging
import os
import signal
import time
import warnings
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
from swav_ray.data.holdout import split
from swav_ray.data.manifest import Manifest
from swav_ray.launch.connect import connect
from swav_ray.launch.dataset import manifest_of
from swav_ray.launch.ray_internals.head_node import HEAD_NODE
from swav_ray.launch.sweep.choice import (
    COSTS,
    OBJECTIVES,
    Choice,
    concurrency,
    default_grace,
    head_share,
    objectives_of,
    points_of,
    same_sweep,
    share_cpus,
)
from swav_ray.launch.sweep.schedulers import make_scheduler
from swav_ray.launch.sweep.search import Tpe, fixed_points
from swav_ray.launch.sweep.space import Accept, Points, Space, Translate, Values, check, config_of, describe, own_values
from swav_ray.launch.sweep.trial import (
    Groups,
    Plan,
    Trial,
    newest_generation,
    read_trial,
    trial_directory,
    update_trial,
)
from swav_ray.recipes import by_name
from swav_ray.report.sweep.page import write_report
from swav_ray.report.sweep.record import read_sweep
from swav_ray.report.terminal import Terminal
from swav_ray.run.layout import BEST, MANIFEST, SWEEP, SWEEP_PAGE, SWEEPS, TRIALS, TUNE
from swav_ray.run.lease import Lease
from swav_ray.storage.place import Place, place

_FIRST_CONTACT = 10.0
_HELD_OUT = 0.1  # of the training images, for kNN, where the data set has labels and no split of its own
_LABEL_FREE_IMAGES = 1024
_KEPT_FOR_COPIES = 5  # newest checkpoints
_DRAIN_SECONDS = 90.0  # that stopped trials may take to free what they hold
_KILLED_SECONDS = 5.0  # the same where Tune was interrupted and has killed them


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
    """Trains `recipe` with values drawn from `space` and finds the best; goes on where a sweep of this name was.

    Args:
        recipe: a recipe's name, or a config.
        space: settings by dotted name to Ray Tune's domains (`tune.choice`, `tune.loguniform`, `tune.grid_search`).
        name: of the sweep and its directory; empty: the recipe's.
        objective: "knn", "rankme", "agreement", "information", or "auto": kNN where there are labels. A list adds
            others or a cost, "images" or "pixels", for searches of several objectives.
        searcher: "random", "grid" or "optuna" (TPE).
        scheduler: "asha", "median", "pbt" or "none".
        num_samples: trials; a grid has as many as it has mixes.
        grace_epochs: epochs before which the scheduler stops no trial, and between mutations of pbt; 0: an eighth of
            the run, at least three. A collapsed trial ends by itself, after its warm-up and its prototypes' freeze.
        concurrent: trials at a time; 0: as many as the cluster holds, and one where none fits yet on a cluster of
            RAY_ADDRESS, which may grow.
        seed: of the values drawn. Trials train with the recipe's `run.seed`.
        translate: makes settings of a trial's values and the recipe, where the values are no settings themselves.

    Returns:
        Ray's ResultGrid: a Result for each trial, failed and collapsed ones with their error.

    Raises:
        ConfigError, UnknownSetting, PlaceError: something is wrong, and no trial has started.

    Trials are measured and saved every epoch, forty times in a longer run, whatever the recipe says of that. Where the
    space holds the recipe's own values, the first trial of any search but a grid has them, for the others to beat.
    """
    original = recipe if isinstance(recipe, Config) else by_name(recipe)
    base = _with_sweep_settings(original, scheduler)
    terminal = Terminal(base.run.progress_seconds)
    name = name or base.run.name
    if not name:
        raise ConfigError("name", "", "names no sweep; its directory gets that name, as a recipe's does")
    sweep_dir = place(base.run.storage) / SWEEPS / name
    sweep_dir.exists(patience=_FIRST_CONTACT)
    base, manifest = _with_data(base, sweep_dir, terminal)
    train_ids, held_out = split(manifest, base.data)
    # kNN's neighbours are labelled images of those trained on, its queries held-out ones.
    labels = bool(len(held_out)) and bool((manifest.labels[train_ids] >= 0).any())
    objectives = objectives_of(objective, labels)
    if len(objectives) > 1 and scheduler != "none":
        raise ConfigError("scheduler", scheduler, "compares one objective; with several it must be none")
    if scheduler == "pbt" and searcher == "optuna":
        raise ConfigError("searcher", searcher, "suggests values once, and pbt changes them: use random or grid")

    def accept(values: Values) -> Config:
        return check(config_of(base, values, translate), len(train_ids), original)

    grace = grace_epochs or default_grace(base.train.epochs)
    own = None if translate else own_values(space, base, accept)
    points = points_of(searcher, space, accept, num_samples, seed, own)
    choice = Choice(
        objective=objectives,
        searcher=searcher,
        scheduler=scheduler,
        num_samples=len(points) if searcher != "optuna" else num_samples,
        grace_epochs=grace,
        seed=seed,
        space=describe(space),
    )
    plan_scheduler = make_scheduler(scheduler, space, accept, epochs=base.train.epochs, grace=grace)

    lease = Lease(sweep_dir, name, terminal.line, lost=lambda: os.kill(os.getpid(), signal.SIGINT), setting="name")
    lease.acquire()
    own_cluster = False
    try:
        own_cluster = connect(base.run.ray_logs) is not None
        at_once = concurrency(base, concurrent, grows=not own_cluster, warn=terminal.line)
        base = share_cpus(base, at_once)
        # Nothing of a sweep is kept before this: one that is refused must not decide what the next of its name is.
        resumed = same_sweep(choice, base, sweep_dir, own)
        manifests.save(manifest, sweep_dir / MANIFEST)
        groups = f"sweep {sweep_dir.uri}"
        plan = Plan(
            base=replace(base, run={"storage": (sweep_dir / TRIALS).uri}),
            translate=translate,
            manifest=sweep_dir / MANIFEST,
            images=len(train_ids),
            groups=groups,
        )
        _tell(terminal, base, choice, points, sweep_dir, at_once, resumed)
        # On the driver's node, which is the one that the sweep cannot lose.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        holder = Groups.options(name=groups, scheduling_strategy=here).remote()  # type: ignore[attr-defined]
        trainable = tune.with_resources(
            tune.with_parameters(Trial, plan=plan),
            # No CPU: the training's workers and crops need them. A part of the head node's own resource bounds how
            # many trials run at once, for any searcher and scheduler, also those that take turns.
            tune.PlacementGroupFactory([{HEAD_NODE: head_share(at_once)}]),
        )
        began = time.monotonic()
        with _quiet(base.run.ray_logs), _sigterm_as_sigint():
            tuner = _tuner(trainable, space, points, choice, plan_scheduler, accept, sweep_dir, groups, resumed)
            results = tuner.fit()
        _drain(holder, _KILLED_SECONDS)
        original = replace(original, data={"holdout_fraction": base.data.holdout_fraction})
        _finish(sweep_dir, original, translate, time.monotonic() - began, terminal)
        return results
    finally:
        lease.release()
        if own_cluster:
            ray.shutdown()


def _with_sweep_settings(config: Config, scheduler: str) -> Config:
    """Measured and saved every epoch, or forty times in a longer run, with the label-free figures."""
    every = max(1, config.train.epochs // 40)
    # pbt copies a checkpoint while the training that wrote it goes on.
    keep = max(config.checkpoint.keep_last, _KEPT_FOR_COPIES) if scheduler == "pbt" else config.checkpoint.keep_last
    return replace(
        config,
        eval={
            "knn_every_epochs": every,
            "label_free_images": config.eval.label_free_images or _LABEL_FREE_IMAGES,
        },
        checkpoint={"every_epochs": float(every), "keep_last": keep},
    )


def _with_data(config: Config, sweep_dir: Place, terminal: Terminal) -> tuple[Config, Manifest]:
    """Indexes the data set, once for all trials; holds some of it out where labels allow and nothing is held out."""
    manifest = manifest_of(config, sweep_dir, terminal, begun=(sweep_dir / SWEEP).exists())
    if (manifest.labels >= 0).any() and not len(split(manifest, config.data)[1]):
        config = replace(config, data={"holdout_fraction": _HELD_OUT})
        terminal.line(f"data.holdout_fraction = {_HELD_OUT}: held out for kNN, since the data set has no split")
    return config, manifest


def _tell(
    terminal: Terminal, base: Config, choice: Choice, points: Points, where: Place, at_once: int, resumed: bool
) -> None:
    terminal.line(f"sweep directory: {where}" + ("; going on with the sweep that is there" if resumed else ""))
    for name, domain in choice.space.items():
        terminal.line(f"  {name}: {domain}")
    for reason in points.refused:
        terminal.line(f"refused: {reason}")
    every = base.eval.knn_every_epochs
    terminal.line(f"every trial is measured and saved every {f'{every} epochs' if every > 1 else 'epoch'}")
    terminal.line(
        f"{choice.num_samples} trials, {at_once} at a time; objective {', '.join(choice.objective)}; "
        f"searcher {choice.searcher}; scheduler {choice.scheduler}"
    )


def _tuner(
    trainable: Any,
    space: Space,
    points: Points,
    choice: Choice,
    scheduler: Any,
    accept: Accept,
    sweep_dir: Place,
    groups: str,
    resumed: bool,
) -> tune.Tuner:
    """Ray's Tuner: a new one, or the one that the sweep left behind."""
    measures = [(OBJECTIVES | COSTS)[name] for name in choice.objective]
    metrics, modes = [metric for metric, _ in measures], [mode for _, mode in measures]
    search: Any
    if choice.searcher == "optuna":
        search = Tpe(space, accept, metrics=metrics, modes=modes, seed=choice.seed, start=points.values)
        parameters: dict[str, Any] = {}
    else:
        search, parameters = fixed_points(points)
    if resumed:
        return tune.Tuner.restore(
            (sweep_dir / TUNE).uri, trainable, param_space=parameters or None, resume_unfinished=True
        )
    given = choice.scheduler != "none"
    return tune.Tuner(
        trainable,
        param_space=parameters,
        tune_config=tune.TuneConfig(
            metric=metrics[0] if given else None,
            mode=modes[0] if given else None,
            search_alg=search,
            scheduler=scheduler,
            num_samples=choice.num_samples,
            reuse_actors=False,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name=TUNE,
            storage_path=sweep_dir.uri,
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[_Progress(groups, (sweep_dir / TRIALS).uri, choice.objective[0])],
        ),
    )


class _Progress(tune.Callback):
    """Tells in the terminal how trials do, notes in their directories how they end, frees what dead ones held."""

    def __init__(self, groups: str, trials: str, objective: str) -> None:
        self._groups, self._trials, self._objective = groups, trials, objective
        self._metric = OBJECTIVES[objective][0]

    def setup(self, *_: Any, **__: Any) -> None:
        self._terminal = Terminal(0.0)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_terminal"}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        value, epochs = result.get(self._metric, float("nan")), result["epochs"]
        self._terminal.line(f"trial {trial.trial_id}, epoch {epochs:g}: {self._objective} {value:.4g}")

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        values = ", ".join(f"{name} {_short(value)}" for name, value in trial.config.items())
        self._terminal.line(f"trial {trial.trial_id} starts: {values}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        result = trial.last_result
        if not result["whole"]:
            run_dir = place(result["run_dir"])
            update_trial(run_dir, state="stopped", reason=f"by the scheduler after epoch {result['epochs']:g}")
            self._terminal.line(f"trial {trial.trial_id} is stopped after epoch {result['epochs']:g}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        ray.get(ray.get_actor(self._groups).release.remote(trial.trial_id))
        generation = newest_generation(place(self._trials), trial.trial_id)
        state, reason = "failed", "it could not start; its error.txt in tune/ says why"
        if generation is not None:
            run_dir = trial_directory(place(self._trials), trial.trial_id, generation)
            about = read_trial(run_dir)
            state, reason = about["state"], about["reason"]
            if state not in ("failed", "collapsed"):
                state, reason = "failed", "its actor died; error.txt in tune/ says why"
                update_trial(run_dir, state=state, reason=reason)
        self._terminal.line(f"trial {trial.trial_id} has {state}: {reason}")

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        # Tune ends with its last trial and kills what still stops; that would leave placement groups behind.
        if trials and all(trial.is_finished() for trial in trials):
            _drain(ray.get_actor(self._groups), _DRAIN_SECONDS)


def _drain(groups: Any, seconds: float) -> None:
    """Waits until trials that were stopped have freed what they hold; frees the rest after so many seconds."""
    deadline = time.monotonic() + seconds
    while busy := ray.get(groups.busy.remote()):
        if time.monotonic() > deadline:
            ray.get([groups.release.remote(trial) for trial in busy])
            return
        time.sleep(0.2)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@contextmanager
def _quiet(logs: bool) -> Iterator[None]:
    """Keeps Ray Tune's own tables and warnings out of the terminal, unless `--run.ray_logs true`."""
    if logs:
        yield
        return
    logger = logging.getLogger("ray.tune")
    level, output = logger.level, os.environ.get("RAY_AIR_NEW_OUTPUT")
    logger.setLevel(logging.CRITICAL)
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new one prints tables also where it was told not to
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        os.environ.pop("RAY_AIR_NEW_OUTPUT")
        if output is not None:
            os.environ["RAY_AIR_NEW_OUTPUT"] = output


@contextmanager
def _sigterm_as_sigint() -> Iterator[None]:
    """While entered SIGTERM does what Tune does on SIGINT: writes its snapshot and stops."""
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
    """Writes what a sweep leaves, and says which trial is best."""
    document = yaml.safe_load((sweep_dir / SWEEP).read_bytes())
    document["seconds"] = document.get("seconds", 0.0) + seconds
    (sweep_dir / SWEEP).write_bytes(yaml.safe_dump(document, sort_keys=False).encode())
    found = read_sweep(sweep_dir)
    if (best := found.best) is not None:
        config = replace(config_of(recipe, best.values, translate), run={"name": f"{sweep_dir.name}_best"})
        note = f"# {found.caveat}\n" if found.caveat else ""
        (sweep_dir / BEST).write_bytes(f"{note}{settings.to_yaml(config)}".encode())
    write_report(found, sweep_dir)
    for line in found.summary_lines():
        terminal.line(line)
    terminal.line(f"the sweep lies in {sweep_dir}: {SWEEP_PAGE}" + (f", {BEST}" if best is not None else ""))
