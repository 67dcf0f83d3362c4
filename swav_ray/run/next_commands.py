"""What to do with weights next, as commands to paste."""

from __future__ import annotations

import shlex

_IMAGES = "PLACE"  # stands for the user's own


def next_commands(checkpoint: str, *, images: str = "", labelled: bool = False) -> list[str]:
    """The commands that take weights further.

    Args:
        checkpoint: a run directory, a checkpoint, or a file of anybody's weights.
        images: the place of images that the weights know; empty: to be filled in.
        labelled: whether the run itself has labelled images, so that it can be judged on them.
    """
    given = f"--checkpoint {shlex.quote(checkpoint)}"
    judged_on = "" if labelled else f" --train {_IMAGES} --val {_IMAGES}"
    return [
        f"python -m swav_ray.evaluate all {given}{judged_on}",
        f"python -m swav_ray.embed {given} --data {shlex.quote(images) if images else _IMAGES} embeddings",
        f"python -m swav_ray.export {given} --format safetensors exported",
    ]
