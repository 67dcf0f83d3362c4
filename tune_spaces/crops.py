"""How many small crops, how large, and of how much of the image. They cost time, so the page plots kNN against pixels.

`python tune_spaces/crops.py --recipe quickstart --num-samples 12`
"""

import sys
from typing import Any

from ray import tune

from swav_ray.config import Config
from swav_ray.launch.sweep.command import main

SPACE = {
    "small crops": tune.choice([0, 2, 4, 6]),
    "small size, share of the large": tune.choice([0.5, 0.75]),
    "large crops from": tune.uniform(0.1, 0.5),
    "small crops up to": tune.uniform(0.14, 0.5),
}


def translate(values: dict[str, Any], recipe: Config) -> dict[str, Any]:
    """Two large crops of the recipe's size, and the small ones, which cover 5% of the image or more."""
    large = recipe.crops.sizes[0]
    sizes, counts = [large], [2]
    low, high = [values["large crops from"]], [1.0]
    if values["small crops"]:
        sizes.append(round(large * values["small size, share of the large"] / 8) * 8)
        counts.append(values["small crops"])
        low.append(0.05)
        high.append(values["small crops up to"])
    return {"crops.sizes": sizes, "crops.counts": counts, "crops.min_scales": low, "crops.max_scales": high}


if __name__ == "__main__":
    sys.exit(
        main(
            SPACE,
            translate=translate,
            recipe="quickstart",
            name="crops",
            num_samples=12,
            scheduler="asha",
            searcher="random",
        )
    )
