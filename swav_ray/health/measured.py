"""Whether a run has stopped learning for good, judged by its measurements: what a sweep ends its trials by.

The same limits as while it trains (`health.rules`), on mean losses between measurements, not on a window of steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swav_ray.health.rules import HAIR, LITTLE

ENTROPY_FLOOR = 0.1  # of the largest possible: nearly every image is nearest to the same few prototypes
IN_A_ROW = 2  # measurements that must agree


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
    # Below `LITTLE` the entropy alone proves no collapse: at a high rate the running statistics that it is taken with
    # lag behind, and all images seem to be one; kNN was 51% in such a trial.
    if floor and losses and all(loss >= LITTLE * ln_k for loss in losses):
        return f"prototype entropy is {entropies[-1]:.3f} of its largest value: a few prototypes take every image"
    return ""
