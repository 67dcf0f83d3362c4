"""`python -m swav_ray.launch.cluster` has moved to `python -m swav_ray.plan`; this says so."""

import sys

if __name__ == "__main__":
    sys.stderr.write(
        "swav_ray: python -m swav_ray.launch.cluster has moved: use python -m swav_ray.plan cost (was: plan), "
        "or python -m swav_ray.plan check\n"
    )
    sys.exit(2)
