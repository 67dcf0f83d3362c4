"""Whether a run has stopped learning for good, judged by its measurements alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from swav_ray.config import ModelConfig, OptimConfig

HAIR = 0.005  # of ln K: a loss this near it predicts every prototype alike
ENTROPY_FLOOR = 0.1  # of the largest possible: nearly every image is nearest to the same few prototypes
# Of ln K: a loss above it predicts next to nothing. Below it the entropy alone proves no collapse: at a high rate the
# running statistics that it is measured with lag behind, and all images seem to be one; kNN was 51% in such a trial.
LITTLE = 0.98
IN_A_ROW = 2  # measurements that must agree


def uniform_loss(model: ModelConfig) -> float:
    """ln K, the loss if every prototype is predicted alike; over several heads the mean, as the loss is."""
    return sum(math.log(k) for k in model.prototypes) / len(model.prototypes)


def grace_steps(optim: OptimConfig, steps_per_epoch: int) -> int:
    """The last step that proves nothing about a run: its prototypes are frozen, or its rate is warming up."""
    return max(optim.freeze_prototypes_steps, math.ceil(optim.warmup_epochs * steps_per_epoch))


def collapsed(rows: Sequence[Mapping[str, Any]], ln_k: float, grace: int) -> str:
    """Why the run is a lost one, in a line, or ''.

    Args:
        rows: measurements, oldest first, with `step`, `loss` and perhaps `prototype_entropy` (`label_free.measure`).
        ln_k: `uniform_loss` of the run. grace: its `grace_steps`.
    """
    late = [row for row in rows if row["step"] > grace][-IN_A_ROW:]
    if len(late) < IN_A_ROW:
        return ""
    losses = [row["loss"] for row in late if row["loss"] is not None]
    if len(losses) == IN_A_ROW and all(abs(loss - ln_k) <= HAIR * ln_k for loss in losses):
        return f"the loss is stuck at {losses[-1]:.3f}, ln K is {ln_k:.3f}: every prototype is predicted alike"
    entropies = [row["prototype_entropy"] for row in late if "prototype_entropy" in row]
    floor = len(entropies) == IN_A_ROW and max(entropies) <= ENTROPY_FLOOR
    if floor and losses and all(loss >= LITTLE * ln_k for loss in losses):
        return f"prototype entropy is {entropies[-1]:.3f} of its largest value: a few prototypes take every image"
    return ""
