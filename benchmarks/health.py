"""What the health monitor costs: a training step with and without it, in this process.

    python -m benchmarks.health [--recipe NAME] [--batch N] [--steps N] [--threads N]

Prints one JSON line. Crops are random pixels that lie in memory, so that a step is nothing but the learner's. Both
learners take the same steps in turns. `cost` is the monitor's own time over the time of all steps without it: its parts
are timed by themselves, since it is far below the noise of a step's time. `observed_ms` is what an observed step costs
more, `epoch_ms` what an epoch's end does, each the median. The number of steps an epoch decides how much the latter
weighs: by default that of the recipe on ImageNet, or on 6,000 images for the quickstart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from swav_ray import recipes
from swav_ray.config import Config, replace
from swav_ray.health.monitor import Monitor
from swav_ray.health.observer import EVERY
from swav_ray.training.learner import Learner

_IMAGES = {"quickstart": 6_000, "fashion_mnist": 60_000, "cifar": 50_000, "imagenette": 9_469}


def random_crops(config: Config) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    batch = config.train.global_batch_size
    return [
        torch.randn(count * batch, 3, size, size, generator=generator)
        for count, size in zip(config.crops.counts, config.crops.sizes, strict=True)
    ]


class Timed:
    """A function and the seconds of its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.seconds: list[float] = []

    def __call__(self, *arguments: Any) -> Any:
        began = time.perf_counter()
        result = self._function(*arguments)
        self.seconds.append(time.perf_counter() - began)
        return result


def measure(config: Config, steps_per_epoch: int, steps: int) -> dict[str, Any]:
    """Steps of a learner that is watched, and of one that is not, in turns."""
    crops = random_crops(config)
    plain, watched = Learner(config, steps_per_epoch), Learner(config, steps_per_epoch)
    lines: list[dict[str, Any]] = []
    monitor = Monitor(watched, [], write=lines.append, report=lambda _: None)
    gradients = Timed(watched.on_gradient)
    watched.on_gradient = gradients
    observe, step_plain, step_watched = Timed(monitor.observe), Timed(plain.step), Timed(watched.step)
    losses = []
    for step in range(steps):
        losses.append((step_plain(crops, step).loss, (result := step_watched(crops, step)).loss))
        observe(step, result, crops)
    own = [a + b for a, b in zip(observe.seconds, gradients.seconds, strict=True)]
    observed = [s for step, s in enumerate(own) if step % EVERY == 0 and (step + 1) % steps_per_epoch]
    others = [s for step, s in enumerate(own) if step % EVERY and (step + 1) % steps_per_epoch]
    # An epoch's end by itself, as many times as it takes for a median, whatever the number of steps.
    ends = Timed(monitor._observer._of_epoch)
    for _ in range(5):
        monitor._observer._epoch_looked_at = -1_000
        with torch.no_grad():
            ends(steps, result, crops)
    per_step, end = statistics.median(step_plain.seconds), statistics.median(ends.seconds)
    cost = statistics.median(observed) / EVERY + statistics.median(others) + end / max(steps_per_epoch, 20)
    return {
        "batch": config.train.global_batch_size,
        "prototypes": config.model.prototypes,
        "steps_per_epoch": steps_per_epoch,
        "step_ms": 1000 * per_step,
        "watched_step_ms": 1000 * statistics.median(step_watched.seconds),
        "observed_ms": 1000 * statistics.median(observed),
        "other_ms": 1000 * statistics.median(others),
        "epoch_ms": 1000 * end,
        "cost": cost / per_step,
        "losses_equal": all(a == b for a, b in losses),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="quickstart", choices=recipes.RECIPES)
    parser.add_argument("--batch", type=int, default=0, help="global batch size; 0: the recipe's")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = recipes.by_name(options.recipe)
    images = _IMAGES.get(options.recipe, 1_281_167)
    # A run with a smaller batch here has the epochs of the recipe, or its ends would weigh less than they do.
    steps_per_epoch = images // config.train.global_batch_size
    if options.batch:
        config = replace(config, train={"global_batch_size": options.batch})
    found = measure(config, steps_per_epoch, options.steps)
    sys.stdout.write(json.dumps({"recipe": options.recipe, "threads": options.threads, **found}) + "\n")


if __name__ == "__main__":
    main()
