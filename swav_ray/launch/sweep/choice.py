"""How a sweep searches, checked before a trial starts: its objectives, its points, and how many trials run at a time.

What is wrong is a ConfigError that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ray

from swav_ray.config import Config, ConfigError, replace
from swav_ray.launch.sweep.search import SEARCHERS
from swav_ray.launch.sweep.space import Accept, Points, Space, Values, draw, grid
from swav_ray.launch.workers import uses_gpu

# By name: the figure that a trial reports, and whether more is better.
OBJECTIVES = {
    "knn": ("knn_top1", "max"),
    "rankme": ("rankme", "max"),
    "agreement": ("code_agreement", "max"),
    "information": ("code_information", "max"),
}
COSTS = {"images": ("images", "min"), "pixels": ("pixels", "min")}
LABEL_FREE = "information"  # replaces kNN if there are no labels: benchmarks/sweep_objectives.py, docs/sweeps.md
MOST_AT_ONCE = 20  # trials; see head_share


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How a sweep searches. All of it is written to sweep.yaml, and must be the same when the sweep resumes."""

    objective: list[str]
    searcher: str
    scheduler: str
    num_samples: int
    grace_epochs: int
    seed: int
    space: dict[str, str]


def objectives_of(objective: str | Sequence[str], labels: bool) -> list[str]:
    """The names of the objectives, checked; "auto" is replaced.

    Args:
        objective: one name or several, the most important one first.
        labels: whether there are labelled images both among those trained on and among those held out.

    Raises:
        ConfigError: a name is unknown, or cannot be measured.
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
    """How many trials run at a time.

    Each needs its workers and a CPU for crops. Otherwise two trials could take all CPUs and wait for ever.

    Args:
        asked: by the user; 0: as many as fit, and one if none fits yet.
        grows: the cluster may yet grow: if it has no room now, `warn` is called with a line that says so.

    Raises:
        ConfigError: more are asked for than will ever fit, or not even one will.
    """
    scaling, cluster = config.scaling, ray.cluster_resources()
    workers = scaling.num_workers[-1]
    need = {"CPU": workers * scaling.cpus_per_worker + max(1.0, scaling.crop_cpus)}
    if uses_gpu(scaling):
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
    """Epochs before which a scheduler stops no trial of a run of `epochs`: an eighth, but at least three.

    Trials cannot be compared while they warm up and their queues start. With trials of eight epochs, a scheduler that
    stopped after one epoch found a worse best trial than no scheduler with as many images; after three epochs it found
    a better one (benchmarks/sweep_objectives.py).
    """
    return min(epochs, max(3, epochs // 8))


def head_share(at_once: int) -> float:
    """What each trial takes of the head node's own resource, 1.0, so that exactly `at_once` trials fit.

    Beside it each trial needs room for Ray Train's cleaner of placement groups. Ray counts in parts of 0.0001.
    """
    return int(10_000 / (at_once + 0.5)) / 10_000


def share_cpus(config: Config, at_once: int) -> Config:
    """Gives each trial's crops CPUs of their own, so that the crops of one never keep another from starting.

    At least one CPU each, also if the cluster does not have them yet.
    """
    scaling = config.scaling
    if scaling.crop_cpus or at_once == 1:
        return config
    each = ray.cluster_resources().get("CPU", 0.0) / at_once - scaling.num_workers[-1] * scaling.cpus_per_worker
    return replace(config, scaling={"crop_cpus": max(1.0, float(int(each)))})


def points_of(searcher: str, space: Space, accept: Accept, count: int, seed: int, own: Values | None = None) -> Points:
    """Values of all trials; with Optuna, of the first. `own`, the recipe's, come first in any search but a grid."""
    if searcher not in SEARCHERS:
        raise ConfigError("searcher", searcher, f"must be one of {', '.join(SEARCHERS)}")
    if not space:
        raise ConfigError("space", {}, "is empty; name at least one setting")
    if count < 1:
        raise ConfigError("num_samples", count, "must be at least 1")
    if searcher == "grid":
        return grid(space, accept)
    return draw(space, accept, 1 if searcher == "optuna" else count, seed, own)
