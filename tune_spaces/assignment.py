"""How many prototypes, how long a queue and from when, what temperature: the first things to try on new data.

`python tune_spaces/assignment.py --recipe quickstart --num-samples 6`
"""

import sys

from ray import tune

from swav_ray.launch.sweep.command import main

SPACE = {
    "model.prototypes": tune.choice([30, 100, 300, 1000]),
    "queue.length": tune.choice([0, 512, 1024, 2048]),
    "queue.start_epoch": tune.choice([1, 3, 6]),
    "train.temperature": tune.loguniform(0.05, 0.3),
}

if __name__ == "__main__":
    sys.exit(main(SPACE, recipe="quickstart", name="assignment", num_samples=12, scheduler="asha", searcher="random"))
