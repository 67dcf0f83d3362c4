"""What `python -m swav_ray.plan scaling` prints."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from swav_ray.plan.estimate import read_data


def run(options: argparse.Namespace, console: Console) -> int:
    """Prints the tables or one JSON line; raises ConfigError."""
    from swav_ray.plan import scaling  # torch, which the other commands do without

    rates = read_data("rates.yaml", options.rates)
    steps = [scaling.scaled(options.config, options.gpu, gpus, options.network, rates) for gpus in options.gpus]
    ours, theirs = scaling.collectives(options.config, options.gpus[0]), scaling.published(options.config)
    if options.json:
        found = {
            "steps": [asdict(step) for step in steps],
            "collectives": [asdict(kind) for kind in ours],
            "published": [asdict(kind) for kind in theirs],
        }
        console.print(json.dumps(found), soft_wrap=True, markup=False)
        return 0
    batch = options.config.train.global_batch_size
    table = Table(
        "GPUs",
        "images a GPU",
        "compute",
        "gradients",
        "of it hidden",
        "small collectives",
        "a step",
        "images/s",
        "of n x 1",
        title=f"{options.config.run.name}, batch {batch}, {options.gpu}, {options.network} Gbit/s",
        title_justify="left",
    )
    for step in steps:
        seconds = (step.compute, step.gradients, step.hidden, step.small, step.seconds)
        table.add_row(
            str(step.gpus),
            f"{step.images_per_gpu:g}",
            *(f"{value * 1000:,.1f} ms" for value in seconds),
            f"{step.images_per_second:,.0f}",
            f"{step.efficiency:.0%}",
        )
    console.print(table)
    counts = Table(
        "a step's collectives",
        "ours",
        "MB",
        "published",
        "MB",
        title=f"at {options.gpus[0]} GPUs, bytes that a worker brings",
        title_justify="left",
    )
    by_name = {kind.what: kind for kind in theirs}
    for kind in ours:
        other = by_name.get(kind.what)
        there = (str(other.count), f"{other.bytes / 1e6:.3f}") if other else ("", "")
        counts.add_row(kind.what, str(kind.count), f"{kind.bytes / 1e6:.3f}", *there)
    console.print(counts)
    entry = rates["gpus"][options.gpu]
    if not entry["measured"]:
        console.print(f"not measured: {options.gpu}: {entry['source']}", style="dim", soft_wrap=True)
    console.print(f"not measured: network: {rates['network']['source']}", style="dim", soft_wrap=True)
    return 0
