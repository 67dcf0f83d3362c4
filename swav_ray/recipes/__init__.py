"""Whole runs by name: the paper's, and ones for small data. Each is a function that returns a config."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from swav_ray.config import Config, ConfigError
from swav_ray.recipes.data_set_size import from_dataset_size
from swav_ray.recipes.published import (
    swav_100ep,
    swav_200ep,
    swav_200ep_bs256,
    swav_400ep,
    swav_400ep_2x224,
    swav_400ep_bs256,
    swav_800ep,
    swav_rn50w2_400ep,
    swav_rn50w4_400ep,
    swav_rn50w5_400ep,
)
from swav_ray.recipes.small_data import cifar, fashion_mnist, imagenette, quickstart

__all__ = [
    "RECIPES",
    "by_name",
    "cifar",
    "fashion_mnist",
    "from_dataset_size",
    "imagenette",
    "quickstart",
    "swav_100ep",
    "swav_200ep",
    "swav_200ep_bs256",
    "swav_400ep",
    "swav_400ep_2x224",
    "swav_400ep_bs256",
    "swav_800ep",
    "swav_rn50w2_400ep",
    "swav_rn50w4_400ep",
    "swav_rn50w5_400ep",
    "table",
]

RECIPES: dict[str, Callable[[], Config]] = {
    recipe.__name__: recipe
    for recipe in (
        quickstart,
        swav_100ep,
        swav_200ep,
        swav_400ep,
        swav_800ep,
        swav_400ep_2x224,
        swav_200ep_bs256,
        swav_400ep_bs256,
        swav_rn50w2_400ep,
        swav_rn50w4_400ep,
        swav_rn50w5_400ep,
        cifar,
        imagenette,
        fashion_mnist,
    )
}


def by_name(name: str) -> Config:
    """The recipe of that name; raises ConfigError with the nearest one."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(RECIPES)}"
        raise ConfigError("recipe", name, f"no such recipe; {hint}")
    return RECIPES[name]()


def table() -> str:
    """All recipes as a Markdown table, for docs/recipes.md."""
    head = "| recipe | backbone | crops | epochs | batch | prototypes | lr | queue | freeze, steps |"
    lines = [head, "|---|---|---|---|---|---|---|---|---|"]
    for name, recipe in RECIPES.items():
        config = recipe()
        crops = " + ".join(f"{n}x{s}" for n, s in zip(config.crops.counts, config.crops.sizes, strict=True))
        width = f"-w{config.model.width:g}" if config.model.width != 1 else ""
        queue = f"{config.queue.length} from epoch {config.queue.start_epoch}" if config.queue.length else "-"
        prototypes = " + ".join(str(k) for k in config.model.prototypes)
        rates = f"{config.optim.base_lr:g} -> {config.optim.final_lr:g}"
        lines.append(
            f"| `{name}` | {config.model.backbone}{width} | {crops} | {config.train.epochs} "
            f"| {config.train.global_batch_size} | {prototypes} | {rates} | {queue} "
            f"| {config.optim.freeze_prototypes_steps} |"
        )
    return "\n".join(lines)
