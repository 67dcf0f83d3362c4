"""Ray Tune for a sweep: its Tuner, new or resumed, and its silence."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray import tune

from swav_ray.launch.sweep.choice import COSTS, OBJECTIVES
from swav_ray.launch.sweep.design import Design
from swav_ray.launch.sweep.search import Tpe, fixed_points
from swav_ray.run.layout import TUNE


def make_tuner(design: Design, trainable: Any, callback: tune.Callback, *, resumed: bool) -> tune.Tuner:
    """Ray's Tuner of a sweep.

    Args:
        trainable: what trains a trial.
        callback: what follows the trials.
        resumed: the trials of the sweep that is there continue.
    """
    choice, sweep_dir = design.choice, design.sweep_dir
    measures = [(OBJECTIVES | COSTS)[name] for name in choice.objective]
    metrics, modes = [metric for metric, _ in measures], [mode for _, mode in measures]
    search: Any
    parameters: dict[str, Any] = {}
    if choice.searcher == "optuna":
        start = design.points.values
        search = Tpe(design.space, design.accept, metrics=metrics, modes=modes, seed=choice.seed, start=start)
    else:
        search, parameters = fixed_points(design.points)
    compares = choice.scheduler != "none"
    tuner = tune.Tuner(
        trainable,
        param_space=parameters,
        tune_config=tune.TuneConfig(
            metric=metrics[0] if compares else None,
            mode=modes[0] if compares else None,
            search_alg=search,
            scheduler=design.scheduler,
            num_samples=choice.num_samples,
            reuse_actors=False,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name=TUNE,
            storage_path=sweep_dir.uri,
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[callback],
        ),
    )
    if not resumed:
        return tuner
    # The Tuner above has written its tuner.pkl over the one that is there. That one holds pickled classes of this
    # package under the names that their modules had when the sweep began, and `restore` would fail if one has moved.
    # All that a sweep has learned lies in Tune's other files, which hold no classes of this package.
    return tune.Tuner.restore((sweep_dir / TUNE).uri, trainable, param_space=parameters or None, resume_unfinished=True)


@contextmanager
def quiet_tune(logs: bool) -> Iterator[None]:
    """Keeps Ray Tune's own tables and warnings out of the terminal, unless `--run.ray_logs true`."""
    if logs:
        yield
        return
    logger = logging.getLogger("ray.tune")
    level, output = logger.level, os.environ.get("RAY_AIR_NEW_OUTPUT")
    logger.setLevel(logging.CRITICAL)
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # its new output prints tables even if verbose is 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        os.environ.pop("RAY_AIR_NEW_OUTPUT")
        if output is not None:
            os.environ["RAY_AIR_NEW_OUTPUT"] = output
