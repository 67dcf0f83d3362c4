"""The run directories of a sweep's trials. A run directory with a trial.json is one generation of a trial.

Population-based training begins a new generation whenever a trial continues from the weights of another one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swav_ray import settings
from swav_ray.config import Config, replace
from swav_ray.launch.sweep.space import Values
from swav_ray.run.layout import CHECKPOINT_MANIFEST, CONFIG, MANIFEST, ORIGIN, TRIAL, checkpoint_folder
from swav_ray.storage.place import Place
from swav_ray.training import checkpoint
from swav_ray.training.learner import build_model
from swav_ray.weights.initial import initial


def trial_directory(trials: Place, trial: str, generation: int) -> Place:
    """The run directory of a generation of a trial."""
    return trials / (f"{trial}-g{generation}" if generation else trial)


def newest_generation(trials: Place, trial: str) -> int | None:
    """The last generation of a trial that has a run directory; None if the trial has not started."""
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


@dataclass(frozen=True)
class CopiedCheckpoint:
    """A checkpoint in a local folder, which Tune brings from one trial to another.

    Attributes:
        folder: the checkpoint's files.
        origin: `run_dir` and `step` that it was copied from.
    """

    folder: Path
    origin: dict[str, Any]

    @staticmethod
    def read(folder: Path) -> CopiedCheckpoint:
        return CopiedCheckpoint(folder, json.loads((folder / ORIGIN).read_text()))


def copy_newest(run_dir: Place, due: int, folder: Path) -> int | None:
    """Copies the newest checkpoint of a run into a local folder, and notes its origin there.

    Returns:
        Its step; None if it is older than step `due`, or if the training deleted it while it was copied.
    """
    steps = checkpoint.steps(run_dir)
    if not steps or steps[-1] < due:
        return None
    source = checkpoint_folder(run_dir, steps[-1])
    try:
        # Read first, since it is deleted first: a checkpoint that is being deleted still has some of its files.
        manifest = (source / CHECKPOINT_MANIFEST).read_bytes()
        for name in json.loads(manifest):
            (folder / name).write_bytes((source / name).read_bytes())
    except FileNotFoundError:
        return None
    (folder / CHECKPOINT_MANIFEST).write_bytes(manifest)
    (folder / ORIGIN).write_text(json.dumps({"run_dir": run_dir.uri, "step": steps[-1]}))
    return steps[-1]


def make_directory(
    run_dir: Place,
    config: Config,
    manifest: Place,
    *,
    trial: str,
    generation: int,
    values: Values,
    start: CopiedCheckpoint | None = None,
) -> None:
    """Makes the run directory of a generation, which begins with the checkpoint `start` if one is given.

    trial.json is written last, and without it the directory does not count: a training that began with half a
    checkpoint would start from random weights.
    """
    run_dir.delete_tree()  # of a start that was killed; its checkpoint may be a later one, of another trial
    if config.train.init_from and (first := initial(build_model(config), config, run_dir)):
        first.save(run_dir)
    if start is not None:
        for name in [*json.loads((start.folder / CHECKPOINT_MANIFEST).read_bytes()), CHECKPOINT_MANIFEST]:
            (checkpoint_folder(run_dir, start.origin["step"]) / name).write_bytes((start.folder / name).read_bytes())
    (run_dir / MANIFEST).write_bytes(manifest.read_bytes())
    (run_dir / CONFIG).write_bytes(settings.to_yaml(replace(config, run={"name": run_dir.name})).encode())
    about = {
        "trial": trial,
        "generation": generation,
        "values": values,
        "origin": start.origin if start is not None else None,
        "state": "running",
        "reason": "",
        "seconds": 0.0,
    }
    (run_dir / TRIAL).write_bytes(json.dumps(about, indent=1).encode())
