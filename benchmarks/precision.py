"""How closely training in bf16 follows training in float32, beside what rounding alone does.

    python -m benchmarks.precision [--steps 200] [--seed 0]

Prints one JSON line. The quickstart trains three times on the same crops: in float32, in bf16, and in float32 with
every weight moved by one unit in its last place. Differences of the loss are those from the first, in nats; ln K is
what a run that learns nothing has.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.parts.in_process_run import SHAPES
from swav_ray.config import Config, replace
from swav_ray.data import manifest as manifests
from swav_ray.data.batches import BatchMaker
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.holdout import split_ids
from swav_ray.data.sample_plan import SamplePlan
from swav_ray.data.shapes import write_shapes
from swav_ray.recipes import quickstart
from swav_ray.storage.place import place
from swav_ray.training.device_batches import to_device
from swav_ray.training.learner import Learner


class Runs:
    """Runs of a config on the built-in images, which lie in `folder`."""

    def __init__(self, config: Config, folder: Path) -> None:
        images = place(folder)
        write_shapes(images, **SHAPES)
        manifest = manifests.build(images.uri)
        train_ids, _ = split_ids(manifest, config.data)
        self._config, self._plan = config, SamplePlan.of(config, train_ids)
        self._maker = BatchMaker(manifest, self._plan, MultiCrop(config.crops, config.augment, config.run.seed), 0.0)

    def losses(self, steps: int, precision: str, *, moved: bool = False) -> np.ndarray:
        """Losses of the first steps; `moved`: every weight begins one unit in its last place higher."""
        config = replace(self._config, train={"precision": precision})
        learner = Learner(config, self._plan.steps_per_epoch)
        if moved:
            with torch.no_grad():
                for weight in learner.model.parameters():
                    weight.copy_(torch.nextafter(weight, torch.full_like(weight, math.inf)))
        found = []
        for step, ids in zip(range(steps), self._plan.batches(0, steps), strict=True):
            crops = to_device(self._maker.make(step, ids), config, torch.device("cpu"))
            found.append(learner.step(crops, step).loss)
        return np.array(found)


def distance(losses: np.ndarray, of: np.ndarray) -> dict[str, float]:
    """Of two runs: the mean and the largest difference of a step's loss, and that of the last fifty steps' means."""
    difference = np.abs(losses - of)
    return {
        "mean": round(float(difference.mean()), 4),
        "largest": round(float(difference.max()), 4),
        "of_last_50_steps": round(float(abs(losses[-50:].mean() - of[-50:].mean())), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = replace(quickstart(), run={"seed": options.seed})
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(config, Path(folder))
        exact = runs.losses(options.steps, "fp32")
        narrow = distance(runs.losses(options.steps, "bf16"), exact)
        rounded = distance(runs.losses(options.steps, "fp32", moved=True), exact)
    print(
        json.dumps(
            {
                "benchmark": "precision",
                "steps": options.steps,
                "seed": options.seed,
                "ln_k": round(math.log(config.model.prototypes[0]), 3),
                "loss": [round(float(exact[:50].mean()), 3), round(float(exact[-50:].mean()), 3)],
                "bf16": narrow,
                "one_unit_in_the_last_place": rounded,
                "ratio_of_means": round(narrow["mean"] / rounded["mean"], 2),
            }
        )
    )


if __name__ == "__main__":
    main()
