"""How codes are made: the entropy's weight, the number of iterations, soft or hard.

`python tune_spaces/sinkhorn.py --recipe quickstart --num-samples 12`
A running training can change all three: `--scheduler pbt` works on this space.
"""

import sys

from ray import tune

from swav_ray.launch.sweep.command import main

SPACE = {
    "assignment.epsilon": tune.loguniform(0.01, 0.2),
    "assignment.iterations": tune.choice([1, 3, 5, 10]),
    "assignment.hard": tune.choice([False, True]),
}

if __name__ == "__main__":
    sys.exit(main(SPACE, recipe="quickstart", name="sinkhorn", num_samples=12, scheduler="asha", searcher="random"))
