"""A few thousand images: what decides between learning and a loss that stays at ln K.

`python tune_spaces/small_data.py --recipe imagenette --data.uri /data/images --num-samples 16`
Fewer prototypes, a lower epsilon, a longer freeze and a smaller batch are what the paper's authors advise there.
"""

import sys

from ray import tune

from swav_ray.launch.sweep.command import main

SPACE = {
    "model.prototypes": tune.choice([10, 30, 100, 300]),
    "assignment.epsilon": tune.choice([0.01, 0.03, 0.05]),
    "optim.freeze_prototypes_steps": tune.choice([0, 100, 300]),
    "train.global_batch_size": tune.choice([64, 128, 256]),
    "queue.length": tune.choice([0, 512]),
}

if __name__ == "__main__":
    sys.exit(main(SPACE, recipe="quickstart", name="small_data", num_samples=16, scheduler="asha", searcher="optuna"))
