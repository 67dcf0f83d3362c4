"""The same training at 1 to 8 workers: the largest relative difference of any step's loss from one worker's.

python -m benchmarks.world_sizes [--steps 50]. Workers are gloo processes on this
machine; no Ray. One JSON line, with differences for float64 and float32.
"""

from __future__ import annotations

import argparse
import json

import torch

from benchmarks.parts.gloo import GlooPool
from benchmarks.parts.small import crops, small_config
from swav_ray.config import Config
from swav_ray.training.distributed import World
from swav_ray.training.learner import Learner


def losses(world: World, config: Config, steps: int, dtype: torch.dtype) -> list[float]:
    """Each step's loss of a small net with two heads, a queue, a freeze, and eight images a global batch."""
    learner = Learner(config, 3, dtype=dtype, world=world)
    rows = world.own_slice(config.train.global_batch_size)
    batches = [[group.to(dtype) for group in crops(config, step, rows)] for step in range(steps)]
    return [learner.step(batch, step).loss for step, batch in enumerate(batches)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    steps = parser.parse_args().steps
    # At a low rate: a net this small magnifies rounding tenfold every few steps at a high one, in float32 beyond 1e-4.
    config = small_config(optim={"base_lr": 0.002, "final_lr": 0.0, "start_warmup_lr": 0.0}, train={"epochs": 20})
    pool = GlooPool(8)
    result: dict[str, object] = {"benchmark": "world_sizes", "steps": steps, "global_batch": 8}
    for dtype in (torch.float64, torch.float32):
        alone = losses(World(), config, steps, dtype)
        result[str(dtype).removeprefix("torch.")] = {
            workers: max(
                abs(theirs - ours) / abs(ours)
                for rank in pool.run(workers, losses, config, steps, dtype)
                for theirs, ours in zip(rank, alone, strict=True)
            )
            for workers in range(2, 9)
        }
    pool.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
