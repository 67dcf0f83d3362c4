"""The verdict: what a disturbed run's files say beside the plan and beside the undisturbed run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swav_ray.data.sample_plan import SamplePlan, digest
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import Place
from swav_ray.training import checkpoint

Record = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Args:
        samples_lost, samples_repeated: over all steps; a step with other ids than planned counts as both.
        loss_difference: largest over the steps, relative to the undisturbed run's loss.
        weight_difference: largest over the final parameters and BatchNorm statistics.
        world_sizes: of the disturbed run's steps.
        problems: a line about each thing that is wrong.
    """

    samples_lost: int
    samples_repeated: int
    loss_difference: float
    weight_difference: float
    world_sizes: tuple[int, ...]
    problems: tuple[str, ...]


def count_samples(records: Sequence[Record], plan: SamplePlan, steps: int) -> tuple[int, int]:
    """Samples lost and samples repeated in the lines of a metrics.jsonl, by their digests."""
    batch = plan.global_batch_size
    times = Counter(record["step"] for record in records)
    lost = sum(batch for step in range(steps) if not times[step])
    repeated = sum(batch * (count - 1) for count in times.values())
    repeated += sum(batch for step in times if not 0 <= step < steps)
    planned = [digest(ids) for ids in plan.batches(0, steps)]
    for record in records:
        if 0 <= record["step"] < steps and record["ids"] != planned[record["step"]]:
            lost, repeated = lost + batch, repeated + batch
    return lost, repeated


def loss_difference(records: Sequence[Record], reference: Sequence[Record]) -> float:
    """The largest difference of a step's losses, relative; infinite if a step is missing or has no loss."""
    losses = {record["step"]: record["loss"] for record in records}
    largest = 0.0
    for record in reference:
        ours, theirs = losses.get(record["step"]), record["loss"]  # of a refused step it is null
        difference = abs(ours - theirs) / abs(theirs) if ours is not None and theirs is not None else np.inf
        largest = max(largest, difference if np.isfinite(difference) else np.inf)
    return largest


def weight_difference(run: Place, reference: Place, step: int) -> float:
    """The largest difference of the models saved at `step`; infinite if one is missing or of another shape."""
    try:
        ours, theirs = checkpoint.load(run, step).model, checkpoint.load(reference, step).model
    except checkpoint.BadCheckpoint:
        return np.inf
    if ours.keys() != theirs.keys():
        return np.inf
    largest = 0.0
    for name, tensor in ours.items():
        if tensor.shape != theirs[name].shape:
            return np.inf
        difference = float((tensor.double() - theirs[name].double()).abs().max()) if tensor.numel() else 0.0
        largest = max(largest, difference if np.isfinite(difference) else np.inf)
    return largest


def judge(run: Place, reference: Place, plan: SamplePlan, steps: int, *, constant: bool, tolerance: float) -> Verdict:
    """Compares a disturbed run with the plan and with the undisturbed run.

    Args:
        run, reference: run directories.
        steps: the length of both runs.
        constant: the world size did not vary, so everything must be equal bit for bit.
        tolerance: the largest relative difference of losses if it did vary.
    """
    records, undisturbed = read_metrics(run), read_metrics(reference)
    lost, repeated = count_samples(records, plan, steps)
    losses, weights = loss_difference(records, undisturbed), weight_difference(run, reference, steps)
    sizes = tuple(sorted({record["workers"] for record in records}))
    problems = []
    if any(count_samples(undisturbed, plan, steps)):
        problems.append("the undisturbed run lost or repeated samples")
    if lost or repeated:
        problems.append(f"{lost} samples lost, {repeated} repeated")
    if constant and len(sizes) != 1:
        problems.append(f"the world size varied: {sizes}")
    if losses > (0.0 if constant else tolerance):
        problems.append(f"losses differ by up to {losses:.3g} (relative)")
    if (constant and weights > 0.0) or not np.isfinite(weights):
        problems.append(f"weights differ by up to {weights:.3g}")
    return Verdict(lost, repeated, losses, weights, sizes, tuple(problems))
