"""What gloo costs: a step of N workers beside N workers that train alone on the same slices."""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.parts.gloo import GlooPool
from benchmarks.step_parts.setup import full_queue, random_crops
from swav_ray.config import Config, replace
from swav_ray.training.distributed import World
from swav_ray.training.learner import Learner

_STEP = 1000


def _seconds(world: World, config: Config, rounds: int, together: bool) -> float:
    """The least seconds of a step on this worker's slice of the global batch, with its group or without."""
    own = world.own_slice(config.train.global_batch_size)
    rows = own.stop - own.start
    if together:
        learner = Learner(config, 1, world=world)
    else:
        past = world.own_slice(config.queue.length)
        alone = replace(config, train={"global_batch_size": rows}, queue={"length": past.stop - past.start})
        learner = Learner(alone, 1)
    full_queue(learner)
    crops = [
        group.contiguous(memory_format=torch.channels_last) for group in random_crops(config, learner.device, rows)
    ]
    learner.step(crops, _STEP)
    found = []
    for _ in range(rounds):
        world.gather_objects(None)  # all begin at once
        began = time.perf_counter()
        learner.step(crops, _STEP)
        found.append(time.perf_counter() - began)
    return min(found)


def gloo_cost(config: Config, workers: int, rounds: int) -> dict[str, Any]:
    """Seconds of a step together and alone, of the slowest worker, and the difference."""
    pool = GlooPool(workers)
    together = max(pool.run(workers, _seconds, config, rounds, True))
    alone = max(pool.run(workers, _seconds, config, rounds, False))
    pool.close()
    return {
        "workers": workers,
        "batch": config.train.global_batch_size,
        "seconds_together": round(together, 4),
        "seconds_alone": round(alone, 4),
        "gloo_percent": round(100 * (together / alone - 1), 1),
    }
