"""What a sweep is to be, checked before a trial starts: objectives, trials at a time, points, whether it was begun so.

What is wrong is a ConfigError by its name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import ray
import yaml

from swav_ray import settings
from swav_ray.config import Config, ConfigError, check_resume, replace
from swav_ray.launch.sweep.search import SEARCHERS
from swav_ray.launch.sweep.space import Accept, Points, Space, Values, draw, grid
from swav_ray.launch.train import uses_gpu
from swav_ray.run.layout import SWEEP, TRIALS, TUNE
from swav_ray.storage.place import Place

# Name for people, figure that a trial reports, whether more is better.
OBJECTIVES = {
    "knn": ("knn_top1", "max"),
    "rankme": ("rankme", "max"),
    "agreement": ("code_agreement", "max"),
    "information": ("code_information", "max"),
}
COSTS = {"images": ("images", "min"), "pixels": ("pixels", "min")}
LABEL_FREE = "information"  # stands in for kNN without labels: benchmarks/sweep_objectives.py, docs/sweeps.md


MOST_AT_ONCE = 20  # trials; see head_share


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How a sweep searches, all of it kept in sweep.yaml."""

    objective: list[str]
    searcher: str
    scheduler: str
    num_samples: int
    grace_epochs: int
    seed: int
    space: dict[str, str]


def objectives_of(objective: str | Sequence[str], labels: bool) -> list[str]:
    """Names checked, the first the one that matters most.

    Args:
        labels: whether there are labelled images both among those trained on and among those held out.
    """
    names = [objective] if isinstance(objective, str) else list(objective)
    names = [("knn" if labels else LABEL_FREE) if name == "auto" else name for name in names]
    for number, known in enumerate(names):
        if known not in OBJECTIVES and (known not in COSTS or number == 0):
            right = f"must be auto, {', '.join(OBJECTIVES)}" + (f", {', '.join(COSTS)}" if number else "")
            extra = (
                "; the loss cannot compare trials: it moves with ln K and the temperature" if known == "loss" else ""
            )
            raise ConfigError("objective", known, right + extra)
    if "knn" in names and not labels:
        raise ConfigError("objective", "knn", f"needs labels of training and held-out images: use auto or {LABEL_FREE}")
    if not names or len(set(names)) < len(names):
        raise ConfigError("objective", names, "needs one objective or more, each once")
    return names


def concurrency(config: Config, asked: int, *, grows: bool, warn: Callable[[str], None]) -> int:
    """Trials at a time: each needs its workers and a CPU for crops, or two could take all CPUs and wait for ever.

    Args:
        asked: 0: as many as fit, and one where none does yet.
        grows: whether the cluster may yet grow: what it has no room for now is told to `warn`, in a line.

    Raises ConfigError where more are asked for than will ever fit, or where not even one will.
    """
    scaling, cluster = config.scaling, ray.cluster_resources()
    workers = scaling.num_workers[-1]
    need = {"CPU": workers * scaling.cpus_per_worker + max(1.0, scaling.crop_cpus)}
    if uses_gpu(config):
        need["GPU"] = workers * scaling.gpus_per_worker
    fits, kind = min((int(cluster.get(kind, 0.0) / amount + 1e-9), kind) for kind, amount in need.items())
    room = f"a trial needs {need[kind]:g} {kind}s for {workers} workers and crops, and the cluster has "
    room += f"{cluster.get(kind, 0.0):g}"
    if fits < 1 and not grows:
        name = f"{kind.lower()}s_per_worker"
        raise ConfigError(f"scaling.{name}", getattr(scaling, name), room)
    most = MOST_AT_ONCE if grows else min(fits, MOST_AT_ONCE)
    if not 0 <= asked <= most:
        raise ConfigError("concurrent", asked, f"must be 0 (as many as fit) or at most {most}, which is what fits")
    at_once = asked or min(max(fits, 1), most)
    if at_once > fits:
        warn(
            f"warning: {room} now: waiting for it to grow, with {at_once} at a time"
            + (", each trial's crops on the CPUs of scaling.crop_cpus" if at_once > 1 else "")
        )
    return at_once


def default_grace(epochs: int) -> int:
    """Epochs of a run of so many before which a scheduler stops no trial, unless told: an eighth, but not below three.

    Trials cannot be told apart while they warm up and their queues start: stopped after one epoch of eight they gave a
    worse best than no scheduler with as many images, after three a better one (benchmarks/sweep_objectives.py).
    """
    return min(epochs, max(3, epochs // 8))


def head_share(at_once: int) -> float:
    """What each trial takes of the head node's own resource, 1.0: so many fit and not one more.

    Beside them each needs the thousandth that Ray Train's cleaner of its placement groups takes.
    """
    return int(10_000 / (at_once + 0.5)) / 10_000


def share_cpus(config: Config, at_once: int) -> Config:
    """Each trial's crops on its own share of the CPUs, so that those of one never keep another from starting.

    A CPU each at least: where the cluster is still to grow, its CPUs of now have no share to give.
    """
    scaling = config.scaling
    if scaling.crop_cpus or at_once == 1:
        return config
    share = ray.cluster_resources().get("CPU", 0.0) / at_once - scaling.num_workers[-1] * scaling.cpus_per_worker
    return replace(config, scaling={"crop_cpus": max(1.0, float(int(share)))})


def points_of(searcher: str, space: Space, accept: Accept, count: int, seed: int, own: Values | None = None) -> Points:
    """All trials' values, or for Optuna its first. `own`, the recipe's, come first in any search but a grid."""
    if searcher not in SEARCHERS:
        raise ConfigError("searcher", searcher, f"must be one of {', '.join(SEARCHERS)}")
    if not space:
        raise ConfigError("space", {}, "is empty; name at least one setting")
    if count < 1:
        raise ConfigError("num_samples", count, "must be at least 1")
    if searcher == "grid":
        return grid(space, accept)
    return draw(space, accept, 1 if searcher == "optuna" else count, seed, own)


def same_sweep(choice: Choice, base: Config, sweep_dir: Place, own: Values | None = None) -> bool:
    """Whether a sweep is there to go on with; raises ConfigError where it is another. Writes sweep.yaml.

    Args:
        own: the values that train as the recipe does, by which the report knows that trial.
    """
    file, search = sweep_dir / SWEEP, asdict(choice)
    if not file.exists():
        document = {"search": search, "own": json.loads(json.dumps(own)), "config": settings.to_dict(base)}
        file.write_bytes(yaml.safe_dump(document, sort_keys=False).encode())
        return False
    before, rename = yaml.safe_load(file.read_bytes()), "--name"
    for field, value in search.items():
        if (first := before["search"].get(field)) != value:
            right = (
                f"the sweep in {sweep_dir} began with {first!r}; use that to resume it, or start another with {rename}"
            )
            raise ConfigError(f"search {field}", value, right)
    began = settings.from_document(before["config"], base, str(file))
    check_resume(began, base, f"the sweep in {sweep_dir}", rename)
    begun = any(entry.name.startswith("experiment_state") for entry in (sweep_dir / TUNE).list())
    if not begun:  # killed before Tune's first snapshot: what little is there belongs to no trial that Tune knows
        (sweep_dir / TRIALS).delete_tree()
    return begun
