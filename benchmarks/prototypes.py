"""What prototypes cost: scores, codes, loss and their gradients against K and the batch, without a backbone.

    python -m benchmarks.prototypes [--device cpu|cuda] [--prototypes K ...] [--batches B ...] [--plot FILE.png]

Times are the least of three rounds. Memory is computed: what the arrays of a step with `train.max_rows_per_pass` hold
at their most, at any batch. Prints one JSON line; --plot draws both.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.step_parts.ceilings import timed
from swav_ray.config import AssignmentConfig
from swav_ray.loss.swapped_prediction import swapped_prediction
from swav_ray.training.codes import codes
from swav_ray.training.distributed import World

_DIM, _VIEWS, _ASSIGNED = 128, 8, 2
_PASS = 64  # images


def seconds(device: torch.device, prototypes: int, batch: int) -> float:
    """Of scores, codes, loss and the gradients of embeddings and prototypes."""
    weight = F.normalize(torch.randn(prototypes, _DIM, device=device), dim=1).requires_grad_()
    embeddings = F.normalize(torch.randn(_VIEWS, batch, _DIM, device=device), dim=2).requires_grad_()

    def step() -> None:
        scores = F.linear(embeddings, weight)
        found = codes([scores[:_ASSIGNED].detach()], [weight], None, AssignmentConfig(), World())[0]
        swapped_prediction(scores, found, crops_for_assign=(0, 1)).sum().backward()
        weight.grad = embeddings.grad = None

    step()
    return min(timed(device, step) for _ in range(3))


def bytes_in_passes(prototypes: int, batch: int) -> int:
    """The most that scores and codes take: those of the whole batch, or codes and the scores of a pass.

    While codes are made: scores of the assigned crops, exponentials of one, codes of all and once more as one array.
    While it learns: codes, scores of a pass, their gradient.
    """
    row = 4 * prototypes
    making = row * batch * (_ASSIGNED + 1 + 2 * _ASSIGNED)
    learning = row * (batch * _ASSIGNED + 2 * min(batch, _PASS) * _VIEWS)
    return max(making, learning)


def plot(file: Path, measured: list[dict[str, Any]], counts: list[int]) -> None:
    """Time against K, a line a batch; memory against K."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for batch in sorted({row["batch"] for row in measured}):
        rows = [row for row in measured if row["batch"] == batch]
        left.plot([row["prototypes"] for row in rows], [row["seconds"] for row in rows], "o-", label=f"batch {batch}")
    for batch in (256, 1024, 4096):
        gigabytes = [bytes_in_passes(count, batch) / 1e9 for count in counts]
        right.plot(counts, gigabytes, "o-", label=f"batch {batch}")
    left.set(title="scores, codes, loss and gradients", ylabel="seconds (measured)")
    right.set(title="memory, passes of 64 images", ylabel="GB (computed)")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="prototypes")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--prototypes", type=int, nargs="+", default=[1000, 3000, 10_000, 30_000, 100_000])
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    measured = [
        {"prototypes": count, "batch": batch, "seconds": round(seconds(device, count, batch), 5)}
        for batch in arguments.batches
        for count in arguments.prototypes
    ]
    memory = {count: round(bytes_in_passes(count, 4096) / 1e9, 2) for count in arguments.prototypes}
    if arguments.plot:
        plot(arguments.plot, measured, arguments.prototypes)
    print(json.dumps({"benchmark": "prototypes", "seconds": measured, "gb_at_batch_4096_computed": memory}))


if __name__ == "__main__":
    main()
