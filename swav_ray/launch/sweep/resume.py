"""Whether a sweep of this name is there already, whether it is the same one, and whether Ray Tune can resume it.

Nothing is ever deleted here: trials are hours of training.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict

import yaml
from ray import tune

from swav_ray import settings
from swav_ray.config import Config, ConfigError, check_resume
from swav_ray.launch.sweep.choice import Choice
from swav_ray.launch.sweep.space import Values
from swav_ray.run.layout import SWEEP, TRIAL, TRIALS, TUNE
from swav_ray.storage.place import Place

# What reading a damaged JSON file with pickled parts may raise (see `pickle.UnpicklingError`). An OSError is no damage.
_DAMAGED = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    EOFError,
    ImportError,
    pickle.UnpicklingError,
)


def begin_or_resume(choice: Choice, base: Config, sweep_dir: Place, own: Values | None = None) -> bool:
    """Whether the sweep resumes one that is there. If there is none, writes sweep.yaml.

    Args:
        own: the values that train as the recipe does, by which the report knows that trial.

    Raises:
        ConfigError: the sweep that is there is another one, or its trials cannot be resumed.
    """
    file = sweep_dir / SWEEP
    if file.exists():
        _check_same(choice, base, sweep_dir, file)
        if can_resume(sweep_dir / TUNE):
            return True
        broken = f"Ray Tune's snapshot in {TUNE}/ is missing or damaged"
    else:
        broken = f"{SWEEP} is missing"
    if trials := sorted(entry.name for entry in (sweep_dir / TRIALS).list() if entry.name.endswith(f"/{TRIAL}")):
        raise ConfigError(
            "name",
            sweep_dir.name,
            f"{sweep_dir} holds {len(trials)} trials that cannot be resumed, since {broken}; "
            "start another sweep with --name, or remove that folder",
        )
    document = {"search": asdict(choice), "own": json.loads(json.dumps(own)), "config": settings.to_dict(base)}
    file.write_bytes(yaml.safe_dump(document, sort_keys=False).encode())
    return False


def can_resume(tune_dir: Place) -> bool:
    """Whether Ray Tune has a snapshot there and can read it.

    `Tuner.can_restore` only sees that a sweep has begun. If the snapshot of its trials cannot be read, a restored
    Tuner would silently start again with new trials, so the snapshot is read here.
    """
    if not tune.Tuner.can_restore(tune_dir.uri):
        return False
    try:
        return bool(tune.ExperimentAnalysis(tune_dir.uri).trials)
    except _DAMAGED:
        return False


def _check_same(choice: Choice, base: Config, sweep_dir: Place, file: Place) -> None:
    before, rename = yaml.safe_load(file.read_bytes()), "--name"
    for field, value in asdict(choice).items():
        if (first := before["search"].get(field)) != value:
            right = (
                f"the sweep in {sweep_dir} began with {first!r}; use that to resume it, or start another with {rename}"
            )
            raise ConfigError(f"search {field}", value, right)
    began = settings.from_document(before["config"], base, str(file))
    check_resume(began, base, f"the sweep in {sweep_dir}", rename)
