"""Learning rate, warm-up, freeze and batch. The rate is drawn for batch 256 and scaled with the batch.

`python tune_spaces/optimization.py --recipe quickstart --num-samples 16`
"""

import sys
from typing import Any

from ray import tune

from swav_ray.config import Config
from swav_ray.launch.sweep.command import main

SPACE = {
    "lr at batch 256": tune.loguniform(0.3, 10),
    "batch": tune.choice([128, 256, 512]),
    "warm-up, share of the run": tune.choice([0.0, 0.05, 0.1]),
    "freeze, samples": tune.choice([0, 12_800, 25_600, 51_200]),
}


def translate(values: dict[str, Any], recipe: Config) -> dict[str, Any]:
    """The cosine ends at a thousandth of its rate; the freeze is counted in samples, so that it suits any batch."""
    lr = values["lr at batch 256"] * values["batch"] / 256
    return {
        "train.global_batch_size": values["batch"],
        "optim.base_lr": lr,
        "optim.final_lr": lr / 1000,
        "optim.start_warmup_lr": lr / 16,
        "optim.warmup_epochs": values["warm-up, share of the run"] * recipe.train.epochs,
        "optim.freeze_prototypes_steps": values["freeze, samples"] // values["batch"],
    }


if __name__ == "__main__":
    sys.exit(
        main(
            SPACE,
            translate=translate,
            recipe="quickstart",
            name="optimization",
            num_samples=16,
            scheduler="asha",
            searcher="optuna",
        )
    )
